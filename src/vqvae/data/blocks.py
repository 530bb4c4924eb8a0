"""Blocks of a stream, which are decoded before the batches need their rows."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

_READERS = 2  # threads that read blocks; large images are decoded in further threads


class Blocks:
    """Holds the blocks that the next steps need, and no others.

    Args:
        ends: int64 [M], the row at which each block ends.
        read: returns the pixels of a block, uint8 [rows, C, H, W]; it is called in a thread.
    """

    def __init__(self, ends: Tensor, read: Callable[[range], Tensor]) -> None:
        self._ends, self._read = ends, read
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="blocks")
        self._held: dict[int, Future[Tensor]] = {}

    def prefetch(self, *batches: Tensor) -> None:
        """Start to read the blocks of some batches, those of the first batch first; drop all other blocks."""
        wanted = list(dict.fromkeys(block for rows in batches for block in self._of(rows).unique().tolist()))
        for block in self._held.keys() - set(wanted):
            self._held.pop(block).cancel()
        for block in wanted:
            if block not in self._held:
                self._held[block] = self._pool.submit(self._read, self._rows(block))

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the pixels of some rows, uint8 [B, C, H, W]; blocks that were not prefetched are read now."""
        blocks, parts = self._of(rows), list[Tensor]()
        for block in blocks.unique().tolist():
            held = self._held.get(block)
            pixels = self._read(self._rows(block)) if held is None else held.result()
            parts.append(pixels[rows[blocks == block] - self._rows(block).start])
        # parts are ordered by block: restore the order of the rows
        return torch.cat(parts)[blocks.argsort(stable=True).argsort()]

    def close(self) -> None:
        """Cancel the blocks that are not being read yet; a process that ends waits for the others."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _of(self, rows: Tensor) -> Tensor:
        return torch.searchsorted(self._ends, rows, right=True)

    def _rows(self, block: int) -> range:
        return range(int(self._ends[block - 1]) if block else 0, int(self._ends[block]))
