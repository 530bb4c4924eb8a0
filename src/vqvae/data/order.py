"""Which rows a training step sees: a function of the step, so that resuming needs no state."""

from functools import lru_cache

import torch
from torch import Tensor

from vqvae import noise

# Keeps flips apart from the order, which hashes (seed, epoch, row) alone.
_FLIP = 0x666C6970


def rows_at_step(step: int, *, batch_size: int, num_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Slice one batch out of the endless stream of epochs, each a fresh permutation of all rows.

    Args:
        step: 0, 1, 2, ...
        batch_size: rows in a batch, over all ranks; may exceed ``num_rows``.
        num_rows: rows of the data set.
        seed: the run's seed.

    Returns:
        rows, int64 [batch_size] in 0..num_rows-1, and the epoch each belongs to, int64 [batch_size]. A batch
        runs over the end of an epoch into the next, so no row is dropped.
    """
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // num_rows
    first, last = int(epochs[0]), int(epochs[-1])
    orders = torch.cat([_order(num_rows, seed, epoch) for epoch in range(first, last + 1)])
    return orders[positions - first * num_rows], epochs


# Two: the batch that runs over the end of an epoch must not evict either side.
@lru_cache(maxsize=2)
def _order(num_rows: int, seed: int, epoch: int) -> Tensor:
    return noise.permutation(num_rows, seed, epoch)


def flips(rows: Tensor, epochs: Tensor, *, seed: int) -> Tensor:
    """Decide which images to mirror, each with probability one half.

    Args:
        rows: int64 [batch], from ``rows_at_step``.
        epochs: int64 [batch], from ``rows_at_step``.
        seed: the run's seed.

    Returns:
        bool [batch], a function of (seed, epoch, row) alone.
    """
    return noise.random_bits(seed, epochs, rows, _FLIP) < 0
