"""The images of a split in memory, and the images that could not be decoded."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vqvae.data.order import rows_at_step
from vqvae.tensors import images_from_pixels

_PASSAGE_ROWS = 256


def variance(pixels: Tensor) -> float:
    """Return the variance of pixels, uint8 [N, C, H, W], over all elements, in the scale of [-1, 1].

    If all pixels are equal, the result is 1, so that an error divided by it is the error itself.
    """
    counts = torch.bincount(pixels.flatten().int(), minlength=256).double()
    values = images_from_pixels(torch.arange(256, dtype=torch.uint8)).double()
    mean = (counts * values).sum() / counts.sum()
    return float((counts * (values - mean).square()).sum() / counts.sum()) if (counts > 0).sum() > 1 else 1.0


@dataclass(frozen=True, eq=False)
class BadFile:
    """An image that could not be decoded.

    Attributes:
        path: the file relative to the data folder, or a row such as ``"train.parquet row 17"``.
        reason: why it could not be decoded, in a few words.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split.

    Attributes:
        pixels: uint8 [N, C, H, W] in 0..255, contiguous; C is 1 or 3.
        labels: int64 [N], indices into ``classes``, or None without labels.
        classes: the class names; empty without labels.
        spec: the data set that ``load`` was given.
        split: "train", "validation" or "test".
        bad: the images that could not be decoded; they are not in ``pixels``.
        origin: in words, the files or rows that the images come from.
        left_out: in words, what was found beside the images and not read, and why.
        pixel_range: the values that became 0 and 255 in pixels of more than 8 bits; None for 0 and 65535.
        wide: whether the first image has pixels of more than 8 bits.
        names: what the source calls each image: a file relative to the data folder, or a row such as
            ``"train.parquet row 17"``.
        made_grey: number of colour images that became grey.
    """

    pixels: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    spec: str
    split: str
    bad: tuple[BadFile, ...]
    origin: str = ""
    left_out: tuple[str, ...] = ()
    pixel_range: tuple[float, float] | None = None
    wide: bool = False
    names: tuple[str, ...] = ()
    made_grey: int = 0

    def __len__(self) -> int:
        return self.pixels.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def rows_at_step(self, step: int, *, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a training step and their epochs, as ``vqvae.data.rows_at_step`` orders them."""
        return rows_at_step(step, batch_size=batch_size, num_rows=len(self), seed=seed)

    def pixels_of(self, rows: Tensor) -> Tensor:
        """Return the pixels of some rows, int64 [B], as uint8 [B, C, H, W]."""
        return self.pixels[rows]

    def close(self) -> None:
        """Do nothing: everything is in memory."""

    def some(self, count: int) -> Tensor:
        """Return the pixels of the first ``count`` rows, on which statistics are estimated."""
        return self.pixels[:count]

    @cached_property
    def pixel_variance(self) -> float:
        """The variance of all pixels, in the scale of [-1, 1]."""
        return variance(self.pixels)

    def iter_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows in order, int64 [n], with their pixels, uint8 [n, C, H, W]."""
        for rows in torch.arange(len(self)).split(_PASSAGE_ROWS):
            yield rows, self.pixels[rows]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the shape, every pixel and every label."""
        digest = hashlib.sha256(repr((tuple(self.pixels.shape), self.labels is not None)).encode())
        digest.update(self.pixels.numpy().reshape(-1).data)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<i8").tobytes())
        return digest.hexdigest()
