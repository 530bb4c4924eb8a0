"""Labels from a table that lies beside the images: CSV, TSV or JSON lines.

One column names the images, by path, by name, or by name without suffix; another is the label. The first is found
by its values. The second is found by the rule of ``vqvae.data.labels``, or is the second column of a table without
a header, such as tiny ImageNet's ``val_annotations.txt``.
"""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqvae.data.labels import LABEL_NAMES, column_names, label_column
from vqvae.data.source import Rows, printable
from vqvae.errors import UserError

_LARGEST = 2**30  # bytes


@dataclass(frozen=True)
class TableLabels:
    """The labels of all images, and where they come from.

    Attributes:
        path: the table.
        labels: int64 [N], a label for each image.
        classes: the values of the column; in numerical order where all are whole numbers, else in alphabetical
            order.
        left_out: in words, what of the table is not used.
    """

    path: Path
    labels: Rows
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def table_labels(paths: Sequence[Path], images: Sequence[str], asked: str | None) -> TableLabels | None:
    """Return the labels of images from the first table that names them and has a column of labels, or None.

    Args:
        paths: files that may be such a table.
        images: their paths, relative to a folder that holds the table or lies below it.
        asked: the column of labels; None for the one that ``label_column`` chooses.

    Raises:
        UserError: when a table of labels names some images only, gives an image two labels, or lacks the column
            asked for.
    """
    rows = _rows_by_name(images)
    for path in paths:
        columns = _columns(path)
        named = {name: len({_row(value, rows) for value in values} - {None}) for name, values in columns.items()}
        names = max(named, key=lambda name: named[name], default=None)
        if names is not None and named[names]:
            found = _labels(path, columns, names, rows, images, asked)
            if found is not None:
                return found
    return None


def _labels(
    path: Path,
    columns: dict[str, list[str]],
    names: str,
    rows: dict[str, int],
    images: Sequence[str],
    asked: str | None,
) -> TableLabels | None:
    others = {name: "string" for name in columns if name != names}
    if asked is None and not any(name in LABEL_NAMES for name in others) and "column 2" in others:
        asked = "column 2"
    chosen = label_column(others, asked, path.name)
    if chosen.name is None:
        return None
    values, elsewhere = _values(path, columns[names], columns[chosen.name], rows, images)
    if all(value in (None, "-1") for value in values):
        return None
    missing = next((row for row, value in enumerate(values) if value is None), None)
    if missing is not None:
        raise UserError(
            f"{path} labels {sum(value is not None for value in values):,} of {len(images):,} images; "
            f"{printable(images[missing])} is not in it: label all of them, or move the table away"
        )
    labels, classes = _numbered([value or "" for value in values])
    others.pop(chosen.name)
    unused = [f"the columns {column_names(others)} of {path.name}"] if others and asked != "column 2" else []
    if elsewhere:
        unused.append(f"{elsewhere:,} rows of {path.name} that name no image here")
    return TableLabels(path, labels, classes, tuple(unused))


def _values(
    path: Path, names: list[str], found: list[str], rows: dict[str, int], images: Sequence[str]
) -> tuple[list[str | None], int]:
    """Return the value of each image, None without one, and the number of lines that name no image.

    Raises:
        UserError: when an image has two values.
    """
    values: list[str | None] = [None] * len(images)
    elsewhere = 0
    for name, value in zip(names, found, strict=True):
        row = _row(name, rows)
        if row is None:
            elsewhere += 1
        elif values[row] not in (None, value or None):
            raise UserError(
                f"{path} gives {printable(images[row])} the labels '{printable(values[row] or '')}' and "
                f"'{printable(value)}': keep one of them"
            )
        else:
            values[row] = value or None  # an empty field is no label
    return values, elsewhere


def _numbered(values: list[str]) -> tuple[Rows, tuple[str, ...]]:
    classes = sorted(set(values))
    if all(value.isascii() and value.removeprefix("-").isdigit() for value in classes):
        classes.sort(key=int)
    number = {value: label for label, value in enumerate(classes)}
    return np.array([number[value] for value in values], np.int64), tuple(printable(name) for name in classes)


def _rows_by_name(images: Sequence[str]) -> dict[str, int]:
    """Return the rows of images by path and, where it is unique, by name with and without suffix."""
    rows, taken = dict[str, int](), set[str]()
    for row, image in enumerate(images):
        base = os.path.basename(image)
        for name in {base, os.path.splitext(base)[0], os.path.splitext(image)[0]}:
            if name in rows:
                taken.add(name)
            rows[name] = row
    for name in taken:
        del rows[name]
    return rows | {image: row for row, image in enumerate(images)}


def _row(name: str, rows: dict[str, int]) -> int | None:
    return rows.get(name, rows.get(os.path.basename(name)))


def _columns(path: Path) -> dict[str, list[str]]:
    """Read a table, all values as text; nothing where it is not a table that can be read."""
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError:
        return {}
    return _of_json(text) if path.suffix.lower() == ".jsonl" else _of_csv(text, tabs=path.suffix.lower() != ".csv")


def _of_json(text: str) -> dict[str, list[str]]:
    try:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return {}
    if not records or not all(
        isinstance(record, dict) and record.keys() == records[0].keys() for record in records
    ):
        return {}
    return {
        str(name): ["" if record[name] is None else str(record[name]) for record in records] for name in records[0]
    }


def _of_csv(text: str, *, tabs: bool) -> dict[str, list[str]]:
    first = text.partition("\n")[0]
    separator = "\t" if tabs else max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
    except csv.Error:
        return {}
    if len(lines) < 2 or len(lines[0]) < 2 or any(len(line) != len(lines[0]) for line in lines):
        return {}
    # a name of a file in the first line: there is no header
    headed = not any(os.path.splitext(value)[1] for value in lines[0])
    header = lines.pop(0) if headed else [f"column {number + 1}" for number in range(len(lines[0]))]
    return {name.strip(): [line[index].strip() for line in lines] for index, name in enumerate(header)}
