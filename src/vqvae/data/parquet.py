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

from vqvae.data.labels import label_column, numbered
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files
from vqvae.data.splits import DataSet, files_by_split
from vqvae.errors import UserError

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class _Shard:
    """One file, its columns found."""

    name: str
    path: Path
    groups: tuple[int, ...]  # the rows of each group: what is read, and decompressed, at once
    image: str
    label: str | None
    classes: tuple[str, ...] | None
    left_out: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return sum(self.groups)


def find_parquet(folder: Path, label: str | None = None) -> DataSet | None:
    """Return the splits of a folder's parquet files, those in it or else one level below; None without any."""
    paths = list(folder.glob("*.parquet")) or list(folder.glob("*/*.parquet"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    return parquet_files(names, fetch=folder.joinpath, where=str(folder), label=label) if names else None


def parquet_files(names: Iterable[str], *, fetch: Callable[[str], Path], where: str, label: str | None) -> DataSet:
    """Return the splits of some parquet files.

    Args:
        names: of the files.
        fetch: gives a file by its name; called for the files of a split when the split is opened.
        where: the data set, for errors.
        label: the column of labels; None for the one that ``label_column`` chooses.
    """
    splits = files_by_split(names)
    opened = {
        split: partial(_open, files, fetch=fetch, where=where, label=label) for split, files in splits.items()
    }
    return DataSet(where, opened, "parquet file", "name one train.parquet", takes_label=True)


def _open(names: Sequence[str], *, fetch: Callable[[str], Path], where: str, label: str | None) -> Source:
    """Return the rows of some parquet files.

    Raises:
        UserError: when a file cannot be read, has no image column, or a label is missing or out of range.
    """
    shards = [_open_shard(name, fetch(name), label) for name in names]
    labels, classes = _labels(shards, where)
    return Source(
        count=sum(shard.num_rows for shard in shards),
        items=partial(_items, shards),
        names=lambda: (_row_name(shard, row) for shard in shards for row in range(shard.num_rows)),
        files=partial(lines_of_files, [(shard.path, shard.name, shard.num_rows) for shard in shards]),
        origin=f"the rows of {names[0]}" + (f" and {len(names) - 1} more files" if names[1:] else ""),
        labels=labels,
        classes=classes,
        fixed_classes=shards[0].classes is not None,
        ends=np.cumsum([size for shard in shards for size in shard.groups]),
        left_out=shards[0].left_out,
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


def _open_shard(name: str, path: Path, asked: str | None) -> _Shard:
    with _readable(path, name), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        image = next((field.name for field in schema if _is_image(field.type)), None)
        if image is None:
            raise UserError(
                f"{name} has no image column, a struct of bytes and path; its columns: {', '.join(schema.names)}"
            )
        columns = {field.name: _kind(field, schema) for field in schema if field.name != image}
        label, left_out = label_column(columns, asked, name)
        groups = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        return _Shard(name, path, groups, image, label, _listed_classes(schema, label), left_out)


def _is_image(kind: Any) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _kind(field: Any, schema: Any) -> str:
    if _listed_classes(schema, field.name) is not None:
        return "classes"
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_boolean(kind):
        return "bool"
    return "string" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "other"


def _listed_classes(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """Read the classes that the datasets library leaves in the schema of a file that it wrote, or None."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _labels(shards: Sequence[_Shard], where: str) -> tuple[Rows | None, tuple[str, ...]]:
    """Read all labels and their classes; None where a file has none, and where all are -1, hidden by the Hub."""
    columns = list[NDArray[Any]]()
    for shard in shards:
        if shard.label is None:
            return None, ()
        with _readable(shard.path, shard.name):
            column = pq.read_table(shard.path, columns=[shard.label]).column(0)
        if column.null_count:
            raise UserError(
                f"{shard.name} has {column.null_count} rows without a value in its column {shard.label}"
            )
        columns.append(np.asarray(column.to_numpy()))
    return numbered(np.concatenate(columns), where, shards[0].classes)
