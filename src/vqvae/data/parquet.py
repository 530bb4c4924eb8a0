"""Parquet files of images: a column of structs of bytes and path, as on the Hub, of plain bytes, or of paths."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

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

from vqvae.data.archives import Place, damaged, left_beside, one_set, pass_folder
from vqvae.data.dataset_card import classes_in_card
from vqvae.data.labels import BY_RULE, Columns, column_names, label_column, no_column, numbered
from vqvae.data.parquet_columns import image_column, kind_of_column, listed_classes, path_inside
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files, printable
from vqvae.data.splits import DataSet, beside_train, files_by_split
from vqvae.errors import UserError

_ROWS_AT_ONCE = 512
_LOOKED_AT = 64  # rows in which a column's first value is looked for


@dataclass(frozen=True)
class _Shard:
    """One file, its columns found."""

    name: str
    path: Path
    root: Path | None  # the folder that the paths in a column of images must stay in
    groups: tuple[int, ...]  # the rows of each group: what is read, and decompressed, at once
    image: str
    label: str | None
    classes: tuple[str, ...] | None
    left_out: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        return sum(self.groups)


def find_parquet(place: Place, columns: Columns = BY_RULE) -> DataSet | None:
    """Return the splits of the parquet files in a folder and below, or of one file; None without any.

    Parquet files without a column of images are no data set where image files lie in the folder.

    Raises:
        UserError: where the folder holds several data sets, each in its folder.
    """
    path, folder, names = place.path, place.folder, place.files(lambda name: name.lower().endswith(".parquet"))
    if not names:
        return None
    found = one_set(names, str(path), partial(pass_folder, folder, names))
    apart = False  # whether image files beside the tables are other images than the tables'
    if columns.image is None and place.holds_images:
        first = files_by_split(found.names).get("train", found.names)[0]  # training never opens a test file
        encoded = _are_encoded(first, folder)
        if encoded is None:
            return None
        apart = encoded
    return parquet_files(
        found.names,
        fetch=folder.joinpath,
        where=str(path),
        columns=columns,
        root=folder,
        left_out=found.left_out + left_beside(place, names, images=apart),
    )


def parquet_files(
    names: Iterable[str],
    *,
    fetch: Callable[[str], Path],
    where: str,
    columns: Columns,
    root: Path | None = None,
    left_out: tuple[str, ...] = (),
) -> DataSet:
    """Return the splits of some parquet files.

    Args:
        names: of the files.
        fetch: gives a file by its name; called for the files of a split when the split is opened.
        where: the data set, for errors.
        columns: what is asked for by name; else the rules of ``image_column`` and ``label_column`` choose.
        root: the folder that the paths in a column of images must stay in; None where paths lead nowhere.
        left_out: in words, what was found beside the files and is not read.
    """
    names = tuple(names)
    splits, left_out = files_by_split(names), left_out + beside_train(names)
    how = partial(_open, fetch=fetch, where=where, columns=columns, root=root, left_out=left_out)
    opened = {split: partial(how, files) for split, files in splits.items()}
    return DataSet(where, opened, "parquet files", "name one train.parquet", takes_label=True, takes_image=True)


def _open(
    names: Sequence[str],
    *,
    fetch: Callable[[str], Path],
    where: str,
    columns: Columns,
    root: Path | None,
    left_out: tuple[str, ...],
) -> Source:
    """Return the rows of some parquet files.

    Raises:
        UserError: when a file cannot be read, has no image column, or a label is missing or out of range.
    """
    first = _open_shard(names[0], fetch(names[0]), columns, root)
    same = Columns(columns.label, first.image)
    shards = [first, *(_open_shard(name, fetch(name), same, root) for name in names[1:])]
    if not any(shard.num_rows for shard in shards):
        raise UserError(f"{where}: no rows in {column_names(names)}: download or write the files again")
    labels, classes = _labels(shards, where)
    if labels is None and first.label is not None:
        left_out = (f"the labels in {first.label}, all of which are hidden (-1)", *left_out)
    return Source(
        count=sum(shard.num_rows for shard in shards),
        items=partial(_items, shards),
        names=lambda: (_row_name(shard, row) for shard in shards for row in range(shard.num_rows)),
        files=partial(lines_of_files, [(shard.path, shard.name, shard.num_rows) for shard in shards]),
        origin=f"the rows of {names[0]}" + (f" and {len(names) - 1} more files" if names[1:] else ""),
        labels=labels,
        classes=classes,
        fixed_classes=first.classes is not None,
        ends=np.cumsum([size for shard in shards for size in shard.groups]),
        left_out=first.left_out + left_out,
    )


def _items(shards: Sequence[_Shard], rows: Rows) -> Iterator[Item]:
    for index, _, within in by_file(rows, [shard.num_rows for shard in shards]):
        for row, value in _values(shards[index], within):
            yield _item(shards[index], row, value)


def _item(shard: _Shard, row: int, value: Any) -> Item:
    """Return one image: its bytes, or else the file at its path."""
    name, path = _row_name(shard, row), None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
    elif isinstance(value, str):
        value, path = None, value
    if value or not path:
        return Item(name, value or b"")
    place = path_inside(path, shard.path, shard.root)
    if place is None:
        raise UserError(
            f"{name} holds no image but the path {printable(path)}, which leads out of the data set: put tables "
            "and images into one folder, with paths relative to it"
        )
    return Item(f"{name} ({printable(path)})", place)


def _values(shard: _Shard, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Yield some rows, ascending, of a file, reading no group of rows that holds none of them."""
    with _readable(shard.path, shard.name), pq.ParquetFile(shard.path) as file:
        sizes, ends = shard.groups, list(accumulate(shard.groups))
        groups = np.unique(np.searchsorted(ends, rows, side="right"))
        numbers = np.concatenate([np.arange(ends[group] - sizes[group], ends[group]) for group in groups.tolist()])
        wanted, at = np.isin(numbers, rows), 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups.tolist(), columns=[shard.image]):
            values = batch.column(0)
            for index in np.flatnonzero(wanted[at : at + len(batch)]):
                yield int(numbers[at + index]), values[int(index)].as_py()
            at += len(batch)


def _row_name(shard: _Shard, row: int) -> str:
    return f"{shard.name} row {row}"


@contextmanager
def _readable(path: Path, name: str) -> Generator[None, None, None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, name, error) from error


def _are_encoded(name: str, folder: Path) -> bool | None:
    """Return whether a file holds encoded images, not paths to images; None where it holds neither."""
    path = folder / name
    with _readable(path, name), pq.ParquetFile(path) as file:
        first = partial(_first, file)
        column, _ = image_column(file.schema_arrow, first, partial(_lies_there, path, folder), name)
        value = None if column is None else first(column)
    encoded = value.get("bytes") if isinstance(value, dict) else value
    return None if column is None else isinstance(encoded, bytes)


def _open_shard(name: str, path: Path, asked: Columns, root: Path | None) -> _Shard:
    with _readable(path, name), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        image, others = asked.image, list[str]()
        if image is None:
            image, others = image_column(schema, partial(_first, file), partial(_lies_there, path, root), name)
        if image is None:
            raise UserError(
                f"{name} has no image column, one of structs of bytes and path, of encoded images, or of paths to "
                f"images; its columns: {column_names(schema.names)}"
            )
        if image not in schema.names:
            raise no_column(name, image, schema.names)
        kinds = {
            field.name: kind_of_column(field, schema) for field in schema if field.name not in (image, *others)
        }
        label, left_out = label_column(kinds, asked.label, name)
        if others:
            left_out = (*left_out, f"the images in {column_names(others)} (--data.image COLUMN takes them)")
        groups = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        classes = listed_classes(schema, label)
        if classes is None and root is not None and label is not None and kinds[label] == "integer":
            classes = classes_in_card(root / "README.md", label)
        return _Shard(name, path, root, groups, image, label, classes, left_out)


def _first(file: pq.ParquetFile, column: str) -> Any:
    """Return the first value of a column that is not null, of the first rows; None where there is none."""
    batch = next(file.iter_batches(_LOOKED_AT, columns=[column]), None)
    values = [] if batch is None else batch.column(0).to_pylist()
    return next((value for value in values if value is not None), None)


def _lies_there(file: Path, root: Path | None, path: str) -> bool:
    found = path_inside(path, file, root)
    return found is not None and found.is_file()


def _labels(shards: Sequence[_Shard], where: str) -> tuple[Rows | None, tuple[str, ...]]:
    """Read all labels and their classes; None where no file has any, and where all are -1, hidden by the Hub."""
    columns = list[NDArray[Any]]()
    first = shards[0]
    for shard in shards:
        if (shard.label, shard.classes) != (first.label, first.classes):
            raise UserError(
                f"{where}: the labels of {first.name} ({_in_words(first)}) and of {shard.name} "
                f"({_in_words(shard)}) are not the same: write one again, or move it to a folder of its own"
            )
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


def _in_words(shard: _Shard) -> str:
    if shard.label is None:
        return "none"
    return shard.label + (f": {column_names(shard.classes)}" if shard.classes else "")
