"""Parquet files in the Hub's image layout: a struct of bytes and path, and perhaps a label beside it."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vqvae.data.source import Item, Source, file_line
from vqvae.data.splits import FileSplits, rows_of_split
from vqvae.errors import UserError

_LABEL_NAMES = ("label", "labels", "fine_label")
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class _Shard:
    """One file, its columns found."""

    name: str
    path: Path
    groups: tuple[int, ...]  # the rows of each group: what is read, and decompressed, at once
    image: str
    label: str | None
    classes: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return sum(self.groups)


def find_parquet(folder: Path) -> FileSplits | None:
    """Return the parquet files of a folder by split, those in it or else one level below, or None without any."""
    paths = list(folder.glob("*.parquet")) or list(folder.glob("*/*.parquet"))
    return FileSplits.by_name(path.relative_to(folder).as_posix() for path in paths) if paths else None


def parquet_source(splits: FileSplits, split: str, *, fetch: Callable[[str], Path], where: str) -> Source:
    """Return one split of a set of parquet files; without test files, about 5 % of the rows are held out.

    Args:
        splits: the files' names.
        split: "train" or "test".
        fetch: gives a file by its name; called for no more files than needed.
        where: the data set, for errors.

    Raises:
        UserError: when a file cannot be read, has no image column, or a label is missing or out of range.
    """
    held_out = not splits.test
    names = splits.test if split == "test" and not held_out else splits.train
    if not names:
        raise UserError(f"{where} has no parquet file for training: name one train.parquet")
    shards = [_open_shard(name, fetch(name)) for name in names]
    labels = _labels(shards)
    classes = shards[0].classes
    if labels is not None and not classes:
        others = splits.train if split == "test" else splits.test
        classes = _numbered_classes([labels, _labels([_open_shard(name, fetch(name)) for name in others])])
    if labels is not None:
        _check_labels(labels, classes, where)
    count = sum(shard.num_rows for shard in shards)
    rows, ends = np.arange(count), np.cumsum([size for shard in shards for size in shard.groups])
    if held_out:
        rows = np.array(rows_of_split(list(_row_names(shards)), split, where=where))
        ends = np.unique(np.searchsorted(rows, ends))
    return Source(
        count=len(rows),
        items=partial(_items, shards, rows),
        labels=None if labels is None else labels[rows],
        classes=classes if labels is not None else (),
        files=lambda: (file_line(shard.path, shard.name) for shard in shards),
        ends=ends[ends > 0],
    )


def _items(shards: Sequence[_Shard], rows: NDArray[np.int64], start: int, stop: int) -> Iterator[Item]:
    rows, first = rows[start:stop], 0
    for shard in shards:
        here = rows[(rows >= first) & (rows < first + shard.num_rows)] - first
        for row, image in _images(shard, here) if here.size else ():
            yield Item(_row_name(shard, row), image)
        first += shard.num_rows


def _images(shard: _Shard, rows: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
    """Yield some rows, ascending, of a file, reading no group of rows that holds none of them."""
    with _readable(shard.path, shard.name), pq.ParquetFile(shard.path) as file:
        sizes, ends = shard.groups, list(accumulate(shard.groups))
        groups = np.unique(np.searchsorted(ends, rows, side="right"))
        numbers = np.concatenate([np.arange(ends[group] - sizes[group], ends[group]) for group in groups.tolist()])
        wanted, at = np.isin(numbers, rows), 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups.tolist(), columns=[shard.image]):
            images = batch.column(0).field("bytes")
            for index in np.flatnonzero(wanted[at : at + len(batch)]):
                yield int(numbers[at + index]), images[int(index)].as_py() or b""
            at += len(batch)


def _row_names(shards: Sequence[_Shard]) -> Iterator[str]:
    return (_row_name(shard, row) for shard in shards for row in range(shard.num_rows))


def _row_name(shard: _Shard, row: int) -> str:
    return f"{shard.name} row {row}"


@contextmanager
def _readable(path: Path, name: str) -> Generator[None, None, None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"cannot read {name} at {path}: {reason}; download or write it again") from error


def _open_shard(name: str, path: Path) -> _Shard:
    with _readable(path, name), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        image = next((field.name for field in schema if _is_image(field.type)), None)
        if image is None:
            raise UserError(
                f"{name} has no image column, a struct of bytes and path; its columns: {', '.join(schema.names)}"
            )
        label = _label_column(schema)
        groups = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        return _Shard(name, path, groups, image, label, _class_names(schema, label))


def _is_image(kind: Any) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _label_column(schema: Any) -> str | None:
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    known = next((name for name in _LABEL_NAMES if name in integers), None)
    return known or (integers[0] if len(integers) == 1 else None)


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
    """Read the class names that the datasets library leaves in the schema, if it wrote this file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _labels(shards: Sequence[_Shard]) -> NDArray[np.int64] | None:
    """Read all labels; None where there are none, also where all are -1, the Hub's mark of a hidden label."""
    columns: list[NDArray[np.int64]] = []
    for shard in shards:
        if shard.label is None:
            return None
        with _readable(shard.path, shard.name):
            column = pq.read_table(shard.path, columns=[shard.label]).column(0)
        if column.null_count:
            raise UserError(
                f"{shard.name} has {column.null_count} rows without a value in its column {shard.label}"
            )
        columns.append(column.to_numpy().astype(np.int64))
    labels = np.concatenate(columns) if columns else np.empty(0, np.int64)
    return None if labels.size and labels.max() < 0 else labels


def _numbered_classes(labels: Sequence[NDArray[np.int64] | None]) -> tuple[str, ...]:
    """Name unnamed classes by their numbers, as many as both splits together use."""
    highest = max((int(column.max()) for column in labels if column is not None and column.size), default=-1)
    return tuple(str(label) for label in range(highest + 1))


def _check_labels(labels: NDArray[np.int64], classes: Sequence[str], where: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} in row {wrong[0]} is not one of its {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
