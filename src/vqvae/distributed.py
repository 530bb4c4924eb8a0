"""What several processes share: sums, rows and words over all ranks, bit-equal on each.

Without a process group there is one rank, and every function returns what it was given. With one, every rank
must call: a rank whose batch is empty joins with zeros or no rows.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from vqvae.errors import RankLost

_PATIENCE = timedelta(minutes=30)  # the longest that ranks wait for one: for it to measure, save or encode


def world_size() -> int:
    """Return how many ranks there are: 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """Return which of the ranks this is, from 0."""
    return dist.get_rank() if _grouped() else 0


def local_rank() -> int:
    """Return which of its host's ranks this is, from 0, as torchrun numbers them."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _grouped() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over ranks, the same bits on all; no gradient passes."""
    if world_size() == 1:
        return tensor
    return sum_over_ranks_(tensor.detach().clone(memory_format=torch.contiguous_format))


def sum_over_ranks_(tensor: Tensor) -> Tensor:
    """Do the same in the memory of the tensor, which is contiguous and needs no gradient; return it."""
    if world_size() > 1:
        with _translate_runtime_errors():
            dist.all_reduce(tensor)
    return tensor


def max_over_ranks(value: int) -> int:
    """Return the largest of the ranks' integers."""
    if world_size() == 1:
        return value
    largest = torch.tensor(value)
    with _translate_runtime_errors():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def rank_slice(rows: Tensor) -> Tensor:
    """Return this rank's part of rows [N, ...]: in rank order they make up all rows, and differ by at most one."""
    return rows.tensor_split(world_size())[rank()]


def gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order, [sum N_r, ...], of a tensor [N_r, ...]; any N_r may be 0."""
    if world_size() == 1:
        return tensor
    lengths = [int(n) for n in _gathered(torch.tensor([len(tensor)]))]
    longest = tensor.new_zeros(max(lengths), *tensor.shape[1:])
    longest[: len(tensor)] = tensor.detach()
    return torch.cat([rows[:n] for rows, n in zip(_gathered(longest), lengths, strict=True)])


def rows_before(number: int) -> int:
    """Return how many rows the lower ranks have, where this one has ``number``."""
    return int(gather_rows(torch.tensor([number]))[: rank()].sum())


def broadcast(text: str) -> str:
    """Return rank 0's text on every rank."""
    own = torch.tensor(list(text.encode()) if rank() == 0 else [], dtype=torch.uint8)
    return bytes(gather_rows(own).tolist()).decode() if world_size() > 1 else text


def barrier() -> None:
    """Return when every rank has called."""
    max_over_ranks(0)


@contextmanager
def translate_comm_errors() -> Iterator[None]:
    """Run a block in which networks may call collectives of their own, as sharded ones do.

    Raises:
        RankLost: when the others do not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if not (dist.is_available() and isinstance(error, dist.DistError)) and "gloo" not in str(error):
            raise
        raise _lost(error) from None


@contextmanager
def in_turn(first: bool) -> Iterator[None]:
    """Let the ranks that are ``first`` run the block before the others: what they make ready, those find."""
    if not first:
        barrier()
    yield
    if first:
        barrier()


@contextmanager
def process_group() -> Iterator[None]:
    """Join the ranks that torchrun started, for the duration: gloo for CPU tensors, NCCL for those on CUDA.

    Where torchrun started none or one, or the caller has joined already, nothing happens.

    Raises:
        RankLost: when the others do not come.
    """
    if _grouped() or int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield
        return
    with _translate_runtime_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
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
    except RuntimeError as error:  # gloo's and NCCL's word for a closed connection and for a time-out
        raise _lost(error) from None


def _lost(error: RuntimeError) -> RankLost:
    reason = " ".join(str(error).split())[:200]
    return RankLost(f"lost the other ranks, one of whose messages says why: {reason}")
