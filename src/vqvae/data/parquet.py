"""Parquet files in the Hub's image layout: a struct of bytes and path, and perhaps a label beside it."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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

from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files
from vqvae.data.splits import DataSet, files_by_split
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


def find_parquet(folder: Path) -> DataSet | None:
    """Return the splits of a folder's parquet files, those in it or else one level below; None without any."""
    paths = list(folder.glob("*.parquet")) or list(folder.glob("*/*.parquet"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    return parquet_files(names, fetch=folder.joinpath, where=str(folder)) if names else None


def parquet_files(names: Iterable[str], *, fetch: Callable[[str], Path], where: str) -> DataSet:
    """Return the splits of some parquet files.

    Args:
        names: of the files.
        fetch: gives a file by its name; called for the files of a split when the split is opened.
        where: the data set, for errors.
    """
    splits = files_by_split(names)
    opened = {split: partial(_open, files, fetch=fetch, where=where) for split, files in splits.items()}
    return DataSet(where, opened, "parquet file", "name one train.parquet")


def _open(names: Sequence[str], *, fetch: Callable[[str], Path], where: str) -> Source:
    """Return the rows of some parquet files.

    Raises:
        UserError: when a file cannot be read, has no image column, or a label is missing or out of range.
    """
    shards = [_open_shard(name, fetch(name)) for name in names]
    labels, classes = _labels(shards), shards[0].classes
    fixed = bool(classes)
    if labels is not None:
        classes = classes or tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
        _check_labels(labels, classes, where)
    return Source(
        count=sum(shard.num_rows for shard in shards),
        items=partial(_items, shards),
        names=lambda: (_row_name(shard, row) for shard in shards for row in range(shard.num_rows)),
        files=partial(lines_of_files, [(shard.path, shard.name, shard.num_rows) for shard in shards]),
        origin=f"the rows of {names[0]}" + (f" and {len(names) - 1} more files" if names[1:] else ""),
        labels=labels,
        classes=classes if labels is not None else (),
        fixed_classes=fixed,
        ends=np.cumsum([size for shard in shards for size in shard.groups]),
    )


def _items(shards: Sequence[_Shard], rows: Rows) -> Iterator[Item]:
    for index, _, within in by_file(rows, [shard.num_rows for shard in shards]):
        for row, image in _images(shards[index], within):
            yield Item(_row_name(shards[index], row), image)


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


def _check_labels(labels: NDArray[np.int64], classes: Sequence[str], where: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} in row {wrong[0]} is not one of its {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
