"""IDX files, as MNIST is distributed: ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``, gzipped or not.

The format (http://yann.lecun.com/exdb/mnist): two zero bytes, a type, the number of axes, the length of each axis
as a big-endian uint32, then the values.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vqvae.data.archives import Place, damaged, left_beside
from vqvae.data.labels import BY_RULE, Columns, numbered
from vqvae.data.pixels import channels_last
from vqvae.data.source import Item, Rows, Source, lines_of_files
from vqvae.data.splits import DataSet, split_named
from vqvae.errors import UserError

_NAME = re.compile(
    r"(?:(?P<set>.*?)[-_.])?(?P<split>train|t10k|test|valid|val|validation)[-_.](?P<what>images|labels)"
    r"(?:[-_.]idx\d?(?:[-_.]u?byte)?|[-_.]ubyte)(?:\.gz)?",
    re.IGNORECASE,
)
_BYTES = 8  # the type of unsigned bytes
_GZIP = b"\x1f\x8b"
_MOST_SQUEEZED = 1100  # deflate makes no more bytes of one


@dataclass(frozen=True)
class _Pair:
    """The files of one split: images, and labels where there are any."""

    images: str
    labels: str | None


def find_idx(place: Place, columns: Columns = BY_RULE) -> DataSet | None:
    """Return the splits of the IDX files in a folder and below, or of the set that one file belongs to.

    Returns:
        None where there are no images in IDX files.

    Raises:
        UserError: where there are several sets, as in EMNIST.
    """
    path, folder, names = place.path, place.folder, place.files(_is_idx)
    if path.is_file() and names:  # the file stands for its set: the files beside it with the same beginning
        names = [
            file.name
            for file in folder.iterdir()
            if _is_idx(file.name) and _set_of(file.name) == _set_of(path.name)
        ]
    sets = _sets(names)
    if not sets:
        return None
    if len(sets) > 1:
        first = min(pair.images for pairs in sets.values() for pair in pairs.values())
        raise UserError(
            f"{folder} holds several data sets ({', '.join(sorted(sets))}): pass a file of one of them, such as "
            f"{folder / first}"
        )
    [pairs] = sets.values()
    beside = left_beside(place, names)
    opened = {split: partial(_open, folder, pair, beside) for split, pair in pairs.items()}
    return DataSet(str(folder), opened, "IDX files", "get train-images-idx3-ubyte.gz")


def _is_idx(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _set_of(name: str) -> str:
    """Return what the set is called: the folders, and what stands before the split in the file's name."""
    way = PurePosixPath(name)
    match = _NAME.fullmatch(way.name)
    folders = [folder for folder in way.parts[:-1] if not _is_idx(folder)]
    return "/".join([*folders, (match and match["set"]) or ""])


def _sets(names: list[str]) -> dict[str, dict[str, _Pair]]:
    """Sort the files by set and split; of a file that is there twice, the unpacked one is taken."""
    files = dict[str, dict[tuple[str, str], str]]()
    for name in sorted(names, key=lambda name: (name.endswith(".gz"), name.count("/"), name)):
        match = cast(re.Match[str], _NAME.fullmatch(PurePosixPath(name).name))
        split = split_named(match["split"]) or "test"  # t10k: the 10,000 images for testing
        files.setdefault(_set_of(name), {}).setdefault((split, match["what"].lower()), name)
    pairs = {
        key: {
            split: _Pair(name, found.get((split, "labels")))
            for (split, what), name in found.items()
            if what == "images"
        }
        for key, found in files.items()
    }
    return {key: found for key, found in pairs.items() if found}


def _open(folder: Path, pair: _Pair, beside: tuple[str, ...]) -> Source:
    """Return one split.

    Raises:
        UserError: for a damaged file, and for labels that do not fit the images.
    """
    pixels = channels_last(_read(folder / pair.images, pair.images), where=pair.images)
    labels, classes, left_out = None, (), ()
    if pair.labels is None:
        left_out = ("labels: no such file beside the images",)
    else:
        values = _read(folder / pair.labels, pair.labels)
        if values.shape != (len(pixels),):
            raise UserError(
                f"{pair.labels} has labels {list(values.shape)} for the {len(pixels)} images of {pair.images}"
            )
        labels, classes = numbered(values, pair.labels)
    return Source(
        count=len(pixels),
        items=partial(_items, pair.images, pixels),
        names=lambda: (_row_name(pair.images, row) for row in range(len(pixels))),
        files=partial(lines_of_files, [(folder / pair.images, pair.images, len(pixels))]),
        origin=f"the images of {pair.images}" + (f", the labels of {pair.labels}" if pair.labels else ""),
        labels=labels,
        classes=classes,
        left_out=left_out + beside,
    )


def _items(name: str, pixels: NDArray[Any], rows: Rows) -> Iterator[Item]:
    return (Item(_row_name(name, row), pixels[row]) for row in rows.tolist())


def _row_name(name: str, row: int) -> str:
    return f"{name} image {row}"


def _read(path: Path, name: str) -> NDArray[np.uint8]:
    """Return the values of a file; of one that is not gzipped, mapped and not read yet."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        if not packed:
            with path.open("rb") as file:
                shape = _shape(file)
                start = file.tell()
            if path.stat().st_size - start != math.prod(shape):
                raise ValueError(f"{path.stat().st_size - start} bytes of values in place of {math.prod(shape)}")
            return np.memmap(path, np.uint8, "r", start, shape)
        with gzip.open(path) as file:
            shape = _shape(cast(BinaryIO, file))
            count = math.prod(shape)
            values = file.read(count + 1) if count <= _MOST_SQUEEZED * path.stat().st_size else b""
        if len(values) != count:
            raise ValueError(f"{len(values)} bytes of values in place of {count}")
        return np.frombuffer(values, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(path, name, error) from error


def _shape(file: BinaryIO) -> tuple[int, ...]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[3] == 0:
        raise ValueError("not an IDX file")
    if head[2] != _BYTES:
        raise ValueError(f"values of type {head[2]:#04x}; only unsigned bytes, 0x08, are read")
    lengths = file.read(4 * head[3])
    shape = tuple(int(length) for length in np.frombuffer(lengths[: len(lengths) // 4 * 4], ">u4"))
    if len(shape) != head[3] or not all(shape):
        raise ValueError("a header that is cut short, or no values")
    return shape
