"""The rows of a training step, a function of the step: resuming needs no state."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from vqvae import noise

# a key of its own for flips, since the order of rows also hashes (seed, epoch, row)
_FLIP = 0x666C6970


def rows_at_step(step: int, *, batch_size: int, num_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows of a batch. Each epoch is a new permutation of all rows; epochs follow one another.

    Args:
        step: 0, 1, 2, ...
        batch_size: number of rows per batch, over all ranks; may exceed ``num_rows``.
        num_rows: number of rows of the data set.
        seed: the seed of the run.

    Returns:
        The rows, int64 [batch_size] in 0..num_rows-1, and their epochs, int64 [batch_size]. A batch may contain
        the end of an epoch and the start of the next, so no row is dropped.
    """
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // num_rows
    first, last = int(epochs[0]), int(epochs[-1])
    orders = torch.cat([_order(num_rows, seed, epoch) for epoch in range(first, last + 1)])
    return orders[positions - first * num_rows], epochs


# two, since a batch may contain rows of two epochs
@lru_cache(maxsize=2)
def _order(num_rows: int, seed: int, epoch: int) -> Tensor:
    return noise.permutation(num_rows, seed, epoch)


def flips(rows: Tensor, epochs: Tensor, *, seed: int) -> Tensor:
    """Return which images are mirrored, each with probability 1/2.

    Args:
        rows: int64 [batch], from ``rows_at_step``.
        epochs: int64 [batch], from ``rows_at_step``.
        seed: the seed of the run.

    Returns:
        bool [batch], a function of (seed, epoch, row) alone.
    """
    return noise.random_bits(seed, epochs, rows, _FLIP) < 0


def interleaved_rows_at_step(
    step: int, *, batch_size: int, ends: Tensor, interleave: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the rows of a batch of data that are read block by block.

    An epoch shuffles the blocks, and the rows within each block. The shuffled rows are split into ``interleave``
    equal parts, and a batch takes the same number of rows from each part. So a batch needs one or two blocks of
    each part, and a rank that takes a contiguous slice of every batch reads only the blocks of its own parts. The
    order is a function of the step and does not depend on the number of ranks.

    Args:
        step: 0, 1, 2, ...
        batch_size: number of rows per batch, over all ranks.
        ends: int64 [M], ascending: the row at which each block ends; the last is the number of rows.
        interleave: number of interleaved read positions. If it does not divide the batch, their greatest common
            divisor is used.
        seed: the seed of the run.

    Returns:
        Rows and epochs as ``rows_at_step``, part by part. An epoch leaves out fewer rows than ``interleave``, and
        different rows in each epoch.
    """
    interleave = math.gcd(batch_size, min(interleave, int(ends[-1])))
    length, each = int(ends[-1]) // interleave, batch_size // interleave
    along = torch.arange(step * each, (step + 1) * each)  # the position within each part
    epochs = (along // length).repeat(interleave)
    positions = (along % length + length * torch.arange(interleave)[:, None]).flatten()
    rows = torch.empty_like(positions)
    for epoch in epochs.unique().tolist():
        rows[epochs == epoch] = _in_blocks(positions[epochs == epoch], ends, seed, epoch)
    return rows, epochs


def _in_blocks(positions: Tensor, ends: Tensor, seed: int, epoch: int) -> Tensor:
    """Return the rows at some positions in the order of an epoch, which goes block by block."""
    sizes = ends.diff(prepend=ends.new_zeros(1))
    blocks = _order(len(ends), seed, epoch)
    until = sizes[blocks].cumsum(0)
    at = torch.searchsorted(until, positions, right=True)
    rows = torch.empty_like(positions)
    for index in at.unique().tolist():
        block = int(blocks[index])
        within = positions[at == index] - (until[index] - sizes[block])
        first = ends[block] - sizes[block]
        rows[at == index] = first + _within_block(int(sizes[block]), seed, epoch, block)[within]
    return rows


# the blocks of a batch's read positions, and the blocks that are prefetched
@lru_cache(maxsize=256)
def _within_block(size: int, seed: int, epoch: int, block: int) -> Tensor:
    return noise.permutation(size, seed, epoch, block)
