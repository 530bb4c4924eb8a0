"""The images of one split, decoded as they are read: for sets of any size."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vqvae.data.assemble import Batch, Wanted, decoded
from vqvae.data.framing import Crop, Strict
from vqvae.data.source import Source


@dataclass(frozen=True, eq=False)
class ImageStream:
    """What ``ImageSet`` is for sets that fit into memory; here a row that cannot be decoded keeps its number.

    Attributes:
        source: the encoded images.
        frame: brings them to one size.
        wanted: what they should become; its channels are 1 or 3.
        spec: what ``open_stream`` was asked for.
        split: "train" or "test".
    """

    source: Source
    frame: Strict | Crop
    wanted: Wanted
    spec: str
    split: str

    def __len__(self) -> int:
        """Return how many rows there are, bad ones among them."""
        return self.source.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return (self.wanted.channels or 3, *self.frame.size)

    def batches(self, rows: range) -> Iterator[Batch]:
        """Decode rows that follow one another; a batch is as much as is decoded at once, about 2^18 pixels.

        Threads decode ahead of what is asked for: stay in ``quiet_pil`` as long as batches come.

        Raises:
            UserError: for an image whose size does not fit, and under ``strict`` for one that does not decode.
        """
        return decoded(self.source, self.frame, self.wanted, rows)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the names and sizes of the files, labels, and size of images: no pixel is read."""
        source = self.source
        digest = hashlib.sha256(repr((self.shape, self.split, len(self), source.classes)).encode())
        for line in source.files():
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
        if source.labels is not None:
            digest.update(source.labels.astype("<i8").tobytes())
        return digest.hexdigest()
