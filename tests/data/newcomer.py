"""A data layout in a file of one's own: all that a new kind of data needs."""

from collections.abc import Iterator

import numpy as np

from vqvae.data import Columns, DataSet, Item, Place, Rows, Source, add_layout


def find_raw(place: Place, columns: Columns) -> DataSet | None:
    """Return the splits of ``train.raw`` and ``test.raw``: grey images of 16x16, one byte a pixel."""
    names = place.files(lambda name: name in ("train.raw", "test.raw"))
    splits = {name.removesuffix(".raw"): lambda name=name: _open(place, name) for name in names}
    return DataSet(str(place.path), splits) if splits else None


def _open(place: Place, name: str) -> Source:
    pixels = np.memmap(place.folder / name, np.uint8, "r").reshape(-1, 16, 16)

    def items(rows: Rows) -> Iterator[Item]:
        return (Item(f"{name} image {row}", pixels[row]) for row in rows.tolist())

    return Source(
        count=len(pixels),
        items=items,
        names=lambda: (f"{name} image {row}" for row in range(len(pixels))),
        files=lambda rows: [f"{name} {pixels.size}"],
        origin=name,
    )


add_layout(find_raw)
