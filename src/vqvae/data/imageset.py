"""What the data room returns: all images of one split, in memory, and what could not be read."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class BadFile:
    """An image that could not be decoded.

    Attributes:
        path: the file relative to the data folder, or a row such as ``"train.parquet row 17"``.
        reason: why, in a few words.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split.

    Attributes:
        pixels: uint8 [N, C, H, W] in 0..255, contiguous; C is 1 or 3.
        labels: int64 [N], indices into ``classes``, or None where the source has none.
        classes: the class names; empty without labels.
        spec: what ``load`` was asked for.
        split: "train" or "test".
        bad: what could not be decoded and is therefore missing from ``pixels``.
    """

    pixels: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    spec: str
    split: str
    bad: tuple[BadFile, ...]

    def __len__(self) -> int:
        return self.pixels.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the shape, every pixel and every label: the same data, the same fingerprint."""
        digest = hashlib.sha256(repr((tuple(self.pixels.shape), self.labels is not None)).encode())
        digest.update(self.pixels.numpy().reshape(-1).data)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<i8").tobytes())
        return digest.hexdigest()
