"""The images of a split, decoded when they are needed: for data sets of any size."""

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqvae.data.blocks import Blocks
from vqvae.data.decode_all import Batch, decoded
from vqvae.data.headers import count_in_colour, is_wide
from vqvae.data.image_spec import ImageSpec
from vqvae.data.imageset import BadFile, variance
from vqvae.data.order import interleaved_rows_at_step
from vqvae.data.resize import Crop, Strict
from vqvae.data.source import Source, all_rows
from vqvae.errors import UserError

_LOG = logging.getLogger(__name__)
_BLOCK_ROWS = 256  # smallest number of rows in a block, except for the last block

_VARIANCE_ROWS = 4096


@dataclass(frozen=True, eq=False)
class ImageStream:
    """The images of a split as a stream; ``ImageSet`` holds a split in memory.

    A row that cannot be decoded keeps its number.

    Attributes:
        source: the encoded images.
        frame: resizes the images to one size.
        wanted: the size and channels of the images; channels are 1 or 3.
        spec: the data set that ``open_stream`` was given.
        split: "train", "validation" or "test".
        interleave: number of interleaved read positions per training batch.
    """

    source: Source
    frame: Strict | Crop
    wanted: ImageSpec
    spec: str
    split: str
    interleave: int = 16
    _skipped: set[str] = field(default_factory=set[str])

    def __len__(self) -> int:
        """Return the number of rows, including rows that cannot be decoded."""
        return self.source.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return (self.wanted.channels or 3, *self.frame.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; empty without labels."""
        return self.source.classes

    @property
    def labels(self) -> Tensor | None:
        """The label of every row, int64 [N], or None."""
        return None if self.source.labels is None else torch.as_tensor(self.source.labels.astype(np.int64))

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values that become 0 and 255 in pixels of more than 8 bits; None for 0 and 65535."""
        return self.wanted.levels

    @cached_property
    def wide(self) -> bool:
        """Whether the first image has pixels of more than 8 bits."""
        return is_wide(self.source)

    @cached_property
    def made_grey(self) -> int:
        """How many of a thousand images are in colour, by their headers, and become grey."""
        return count_in_colour(self.source) if self.wanted.channels == 1 and not self.wanted.all_grey else 0

    @property
    def origin(self) -> str:
        """In words, which files or rows these are."""
        return self.source.origin

    @property
    def left_out(self) -> tuple[str, ...]:
        """In words, what was found beside the images and not read, and why."""
        return self.source.left_out

    @property
    def bad(self) -> tuple[BadFile, ...]:
        """Always empty: a stream reports an image that cannot be decoded when it reads the image."""
        return ()

    def batches(self, rows: range) -> Iterator[Batch]:
        """Decode consecutive rows in batches of about 2^18 pixels.

        Threads decode ahead. Stay in ``quiet_pil`` as long as the batches are read.

        Raises:
            UserError: for an image of a wrong size and, if ``strict`` is set, for an image that cannot be decoded.
        """
        return decoded(self.source, self.frame, self.wanted, rows)

    def iter_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows that can be decoded, in order, int64 [n], with their pixels, uint8 [n, C, H, W]."""
        for batch in self.batches(range(len(self))):
            self._say(batch.bad)
            if batch.rows:
                yield torch.tensor(batch.rows), torch.tensor(batch.pixels)

    def rows_at_step(self, step: int, *, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a step and their epochs, as ``interleaved_rows_at_step`` orders them."""
        return interleaved_rows_at_step(
            step, batch_size=batch_size, ends=self._ends, interleave=self.interleave, seed=seed
        )

    def pixels_of(self, rows: Tensor) -> Tensor:
        """Return the pixels of some rows, uint8 [B, C, H, W].

        A row that cannot be decoded is replaced by the next row of its block that can, so that every batch is
        full.

        Raises:
            UserError: as ``batches``, and for a block without an image that can be decoded.
        """
        return self._blocks.pixels(rows)

    def prefetch(self, rows: Tensor, soon: Tensor) -> None:
        """Read the blocks of this step's rows and of a later step's rows ahead."""
        self._blocks.prefetch(rows, soon)

    def close(self) -> None:
        """Stop reading ahead."""
        self._blocks.close()

    def prefetch_steps(self, batch_size: int) -> int:
        """Return the number of steps to read ahead: half the number of steps that a block lasts."""
        each = batch_size // math.gcd(batch_size, self.interleave)
        return max(1, int(self._ends.diff(prepend=self._ends.new_zeros(1)).median()) // (2 * each))

    def some(self, count: int) -> Tensor:
        """Return the pixels of ``count`` rows from random blocks, on which statistics are estimated."""
        rows, _ = interleaved_rows_at_step(
            0, batch_size=min(count, len(self)), ends=self._ends, interleave=1, seed=0
        )
        return self._blocks.pixels(rows)

    @cached_property
    def pixel_variance(self) -> float:
        """The variance of the pixels of 4,096 rows, in the scale of [-1, 1]."""
        return variance(self.some(_VARIANCE_ROWS))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the names and sizes of the files, the labels, and how pixels are read."""
        source = self.source
        digest = hashlib.sha256(repr((self.shape, self.split, len(self), source.classes)).encode())
        reading = (self.wanted.levels, self.wanted.column)
        if reading != (None, None):  # so the fingerprints of runs without these settings stay as they were
            digest.update(repr(reading).encode())
        for line in source.files(all_rows(source)):
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
        if source.labels is not None:
            digest.update(source.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def _ends(self) -> Tensor:
        return torch.as_tensor(_merged(self.source.ends, len(self)))

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks(self._ends, self._read)

    def _read(self, rows: range) -> Tensor:
        batches = list(self.batches(rows))
        self._say([bad for batch in batches for bad in batch.bad])
        kept = torch.tensor([row for batch in batches for row in batch.rows])
        if not len(kept):
            raise UserError(
                f"{self.spec}: none of its images {rows.start} to {rows.stop - 1} can be decoded: "
                "mend or remove them"
            )
        pixels = torch.cat([torch.tensor(batch.pixels) for batch in batches if batch.rows])
        return pixels[torch.searchsorted(kept, torch.arange(rows.start, rows.stop)).clamp(max=len(kept) - 1)]

    def _say(self, bad: list[BadFile]) -> None:
        for path, reason in ((found.path, found.reason) for found in bad if found.path not in self._skipped):
            self._skipped.add(path)
            _LOG.warning("skipped %s: %s", path, reason)


def _merged(ends: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Return the ends of blocks: the source's own pieces, joined until a block has at least 256 rows."""
    if ends is None:
        ends = np.arange(1, count + 1)
    merged = list[int]()
    for end in ends.tolist():
        if end - (merged[-1] if merged else 0) >= _BLOCK_ROWS:
            merged.append(end)
    return np.array([*merged, count] if not merged or merged[-1] < count else merged, np.int64)
