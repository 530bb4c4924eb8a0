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

from vqvae.data.folder import IMAGE_SUFFIXES
from vqvae.data.source import Item, Source, file_line, printable
from vqvae.data.splits import FileSplits, rows_of_split
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


def find_tars(folder: Path) -> FileSplits | None:
    """Return the tar files of a folder by split, those in it or else one level below, or None without any."""
    paths = list(folder.glob("*.tar")) or list(folder.glob("*/*.tar"))
    return FileSplits.by_name(path.relative_to(folder).as_posix() for path in paths) if paths else None


def tar_source(splits: FileSplits, split: str, *, folder: Path) -> Source:
    """Return one split of a set of tar files; without test files, about 5 % of the samples are held out.

    Classes are the numbers from 0 to the largest in any ``.cls`` file.

    Raises:
        UserError: when a file cannot be read, holds no image, or has labels for some samples only.
    """
    held_out = not splits.test
    names = splits.test if split == "test" and not held_out else splits.train
    if not names:
        raise UserError(f"{folder} has no tar file for training: name one train.tar")
    shards = [_open_shard(name, folder / name) for name in names]
    rows = np.arange(sum(len(shard.keys) for shard in shards))
    if held_out:
        rows = np.array(
            rows_of_split([name for shard in shards for name in _names(shard)], split, where=str(folder))
        )
    labels, num_classes = _labels(shards, str(folder)), 0
    if labels is not None:
        others = splits.train if split == "test" else splits.test
        beside = _labels([_open_shard(name, folder / name) for name in others], str(folder))
        num_classes = 1 + max(int(column.max()) for column in (labels, beside) if column is not None)
    return Source(
        count=len(rows),
        items=partial(_items, shards, rows),
        labels=None if labels is None else labels[rows],
        classes=tuple(str(label) for label in range(num_classes)),
        files=lambda: (file_line(shard.path, shard.name) for shard in shards),
    )


def _items(shards: Sequence[_Shard], rows: NDArray[np.int64], start: int, stop: int) -> Iterator[Item]:
    rows, first = rows[start:stop], 0
    for shard in shards:
        here = rows[(rows >= first) & (rows < first + len(shard.keys))] - first
        if here.size:
            with shard.path.open("rb") as file:
                for row in here.tolist():
                    offset, size = shard.images[row]
                    file.seek(offset)
                    yield Item(_name(shard, row), file.read(size))
        first += len(shard.keys)


def _name(shard: _Shard, row: int) -> str:
    return printable(f"{shard.name} {shard.keys[row]}")


def _names(shard: _Shard) -> Iterator[str]:
    return (_name(shard, row) for row in range(len(shard.keys)))


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
