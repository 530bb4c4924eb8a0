"""Collectives: sums, rows and texts over all ranks, with bit-equal results on every rank.

Without a process group there is one rank, and every function returns its argument. With a process group, every
rank must call the function; a rank whose batch is empty passes zeros or no rows.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from vqvae.errors import RankLost

_TIMEOUT = timedelta(minutes=30)  # longest time that ranks wait for a rank that measures, saves or encodes


def world_size() -> int:
    """Return the number of ranks: 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """Return the index of this rank, from 0."""
    return dist.get_rank() if _grouped() else 0


def local_rank() -> int:
    """Return the index of this rank on its host, from 0, as torchrun numbers them."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _grouped() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over ranks, bit-equal on all of them; no gradient flows through it."""
    if world_size() == 1:
        return tensor
    return sum_over_ranks_(tensor.detach().clone(memory_format=torch.contiguous_format))


def sum_over_ranks_(tensor: Tensor) -> Tensor:
    """Sum a contiguous tensor without gradient over ranks in place, and return it."""
    if world_size() > 1:
        with _translate_runtime_errors():
            dist.all_reduce(tensor)
    return tensor


def max_over_ranks(value: int) -> int:
    """Return the largest value over ranks."""
    if world_size() == 1:
        return value
    largest = torch.tensor(value)
    with _translate_runtime_errors():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def rank_slice(rows: Tensor) -> Tensor:
    """Return this rank's contiguous slice of rows [N, ...]; the slices of two ranks differ by at most one row."""
    return rows.tensor_split(world_size())[rank()]


def gather_rows(tensor: Tensor) -> Tensor:
    """Concatenate the rows [N_r, ...] of all ranks in rank order, [sum N_r, ...]; any N_r may be 0."""
    if world_size() == 1:
        return tensor
    lengths = [int(n) for n in _gathered(torch.tensor([len(tensor)]))]
    longest = tensor.new_zeros(max(lengths), *tensor.shape[1:])
    longest[: len(tensor)] = tensor.detach()
    return torch.cat([rows[:n] for rows, n in zip(_gathered(longest), lengths, strict=True)])


def rows_before(number: int) -> int:
    """Return the total number of rows on all lower ranks; this rank has ``number`` rows."""
    return int(gather_rows(torch.tensor([number]))[: rank()].sum())


def broadcast(text: str) -> str:
    """Return the text of rank 0 on every rank."""
    own = torch.tensor(list(text.encode("utf-8", "surrogateescape")) if rank() == 0 else [], dtype=torch.uint8)
    return bytes(gather_rows(own).tolist()).decode("utf-8", "surrogateescape") if world_size() > 1 else text


def barrier() -> None:
    """Wait until every rank has called."""
    max_over_ranks(0)


@contextmanager
def translate_comm_errors() -> Iterator[None]:
    """Run a block in which networks call collectives, as sharded networks do.

    Raises:
        RankLost: when another rank does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if not (dist.is_available() and isinstance(error, dist.DistError)) and "gloo" not in str(error):
            raise
        raise _lost(error) from None


@contextmanager
def in_turn(first: bool) -> Iterator[None]:
    """Run the block on the ranks with ``first``, then on the other ranks, which find its results."""
    if not first:
        barrier()
    yield
    if first:
        barrier()


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group of the ranks that torchrun started: gloo for CPU tensors, NCCL for CUDA tensors.

    Does nothing without torchrun, with a single rank, or inside a process group.

    Raises:
        RankLost: when another rank does not join.
    """
    if _grouped() or int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield
        return
    with _translate_runtime_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def _gathered(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    with _translate_runtime_errors():
        dist.all_gather(parts, tensor)
    return parts


@contextmanager
def _translate_runtime_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL raise it for closed connections and time-outs
        raise _lost(error) from None


def _lost(error: RuntimeError) -> RankLost:
    reason = " ".join(str(error).split())[:200]
    return RankLost(f"lost another rank; its own message says why: {reason}")
