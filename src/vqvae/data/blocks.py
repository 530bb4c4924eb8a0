"""Blocks of a stream, decoded ahead of the batches that take their rows."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

_READERS = 2  # each decodes in threads of its own where images are large


class Blocks:
    """Holds the blocks that the next steps need, and no other.

    Args:
        ends: int64 [M], the row at which each block ends.
        read: gives the pixels of a block, uint8 [rows, C, H, W]; called in a thread.
    """

    def __init__(self, ends: Tensor, read: Callable[[range], Tensor]) -> None:
        self._ends, self._read = ends, read
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="blocks")
        self._held: dict[int, Future[Tensor]] = {}

    def prefetch(self, *batches: Tensor) -> None:
        """Start to read what the rows of some batches lie in, the first one's first, and let go of the rest."""
        wanted = list(dict.fromkeys(block for rows in batches for block in self._of(rows).unique().tolist()))
        for block in self._held.keys() - set(wanted):
            self._held.pop(block).cancel()
        for block in wanted:
            if block not in self._held:
                self._held[block] = self._pool.submit(self._read, self._rows(block))

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the pixels of some rows, uint8 [B, C, H, W]; reads what was not expected."""
        blocks, parts = self._of(rows), list[Tensor]()
        for block in blocks.unique().tolist():
            held = self._held.get(block)
            pixels = self._read(self._rows(block)) if held is None else held.result()
            parts.append(pixels[rows[blocks == block] - self._rows(block).start])
        # they come block by block: put them back into the order of the rows
        return torch.cat(parts)[blocks.argsort(stable=True).argsort()]

    def close(self) -> None:
        """Drop what is not being read yet: a process that ends waits for the rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _of(self, rows: Tensor) -> Tensor:
        return torch.searchsorted(self._ends, rows, right=True)

    def _rows(self, block: int) -> range:
        return range(int(self._ends[block - 1]) if block else 0, int(self._ends[block]))
