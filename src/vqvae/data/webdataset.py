"""Tar files in WebDataset's layout: ``key.jpg`` and perhaps ``key.cls`` side by side, a sample for each key.

Uncompressed tar files can be read anywhere, so a sample is read by its place, which one pass over the headers
finds (https://github.com/webdataset/webdataset, "The WebDataset Format").
"""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqvae.data.listing import IMAGE_SUFFIXES
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files, printable
from vqvae.data.splits import DataSet, files_by_split
from vqvae.errors import UserError

_LABEL = "cls"


class _Piece(NamedTuple):
    """Where a file's content lies in its tar file, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class _Shard:
    """One tar file: its samples in order, by key; labels are None where no sample has one."""

    name: str
    path: Path
    keys: list[str]
    images: list[_Piece]
    labels: list[int] | None


def find_tars(folder: Path, label: str | None = None) -> DataSet | None:
    """Return the splits of a folder's tar files, those in it or else one level below; None without any."""
    paths = list(folder.glob("*.tar")) or list(folder.glob("*/*.tar"))
    splits = files_by_split(path.relative_to(folder).as_posix() for path in paths)
    opened = {split: partial(_open, names, folder) for split, names in splits.items()}
    return DataSet(str(folder), opened, "tar file", "name one train.tar") if paths else None


def _open(names: Sequence[str], folder: Path) -> Source:
    """Return the samples of some tar files. Classes are the numbers from 0 to the largest in a ``.cls`` file.

    Raises:
        UserError: when a file cannot be read, holds no image, or has labels for some samples only.
    """
    shards = [_open_shard(name, folder / name) for name in names]
    labels = _labels(shards, str(folder))
    return Source(
        count=sum(len(shard.keys) for shard in shards),
        items=partial(_items, shards),
        names=lambda: (_name(shard, row) for shard in shards for row in range(len(shard.keys))),
        files=partial(lines_of_files, [(shard.path, shard.name, len(shard.keys)) for shard in shards]),
        origin=f"the samples of {names[0]}" + (f" and {len(names) - 1} more files" if names[1:] else ""),
        labels=labels,
        classes=() if labels is None else tuple(str(label) for label in range(1 + int(labels.max()))),
    )


def _items(shards: Sequence[_Shard], rows: Rows) -> Iterator[Item]:
    for index, _, within in by_file(rows, [len(shard.keys) for shard in shards]):
        shard = shards[index]
        with shard.path.open("rb") as file:
            for row in within.tolist():
                offset, size = shard.images[row]
                file.seek(offset)
                yield Item(_name(shard, row), file.read(size))


def _name(shard: _Shard, row: int) -> str:
    return printable(f"{shard.name} {shard.keys[row]}")


def _open_shard(name: str, path: Path) -> _Shard:
    samples = dict[str, dict[str, _Piece]]()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    key, extension = _split_name(member.name)
                    samples.setdefault(key, {})[extension] = _Piece(member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"cannot read {name} at {path}: {error}; write it again, and uncompressed") from error
    images = {key: _image_of(pieces) for key, pieces in samples.items()}
    keys = [key for key, piece in images.items() if piece is not None]
    if not keys:
        raise UserError(f"{name} at {path} has no image: a sample is KEY.jpg, and KEY.cls for its class")
    labelled = [key for key in keys if _LABEL in samples[key]]
    if labelled and len(labelled) < len(keys):
        missing = next(key for key in keys if _LABEL not in samples[key])
        raise UserError(f"{name}: {printable(missing)} has no .{_LABEL}, but others have; label all or none")
    labels = [_label(name, path, key, samples[key][_LABEL]) for key in labelled]
    return _Shard(name, path, keys, [piece for piece in images.values() if piece is not None], labels or None)


def _split_name(name: str) -> tuple[str, str]:
    """Return a file's name up to its first point, with its folder, and what comes after it in small letters."""
    folder, slash, file = name.rpartition("/")
    key, _, extension = file.partition(".")
    return folder + slash + key, extension.lower()


def _image_of(pieces: dict[str, _Piece]) -> _Piece | None:
    return next((piece for extension, piece in pieces.items() if f".{extension}" in IMAGE_SUFFIXES), None)


def _label(name: str, path: Path, key: str, piece: _Piece) -> int:
    with path.open("rb") as file:
        file.seek(piece.offset)
        text = file.read(min(piece.size, 20)).decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise UserError(f"{name}: {printable(key)}.{_LABEL} is '{printable(text)}', not a class's number")
    return int(text)


def _labels(shards: Sequence[_Shard], where: str) -> NDArray[np.int64] | None:
    found = [shard.labels for shard in shards]
    if all(labels is None for labels in found):
        return None
    if any(labels is None for labels in found):
        raise UserError(f"{where}: some tar files have .{_LABEL} files and some have none; label all or none")
    return np.array([label for labels in found for label in labels or ()], np.int64)
