"""The rule of labels: which column of a table is the label, and how its values become numbers.

A label is a column that lists its classes (the Hub's ``ClassLabel``), or a column of integers, strings or booleans
that is called ``label``, ``labels``, ``fine_label``, ``class`` or ``coarse_label``. No other column is taken for a
label unless it is named: a width is no class. Where several columns qualify, the order of these names decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqvae.data.source import Rows
from vqvae.errors import UserError, did_you_mean

LABEL_NAMES = ("label", "labels", "fine_label", "class", "coarse_label")
_MOST_NAMES = 12


class Columns(NamedTuple):
    """The columns of a table that are asked for by name, as ``--data.label`` and ``--data.image`` give them."""

    label: str | None = None
    image: str | None = None


BY_RULE = Columns()


class LabelColumn(NamedTuple):
    """The column of labels, or None, and a few words on the columns that are not used."""

    name: str | None
    left_out: tuple[str, ...]


def label_column(columns: Mapping[str, str], asked: str | None, where: str) -> LabelColumn:
    """Choose the column of labels.

    Args:
        columns: what each column but the images holds: "classes", numbers of classes that it lists; "integer",
            "string" or "bool"; or "other", which cannot be a label.
        asked: a column's name, as ``--data.label`` gives it.
        where: the table, for errors.

    Raises:
        UserError: when the column asked for is not there or cannot be a label, or when several could be meant.
    """
    usable = [name for name, kind in columns.items() if kind != "other"]
    if asked is not None:
        if asked not in usable:
            raise UserError(
                f"{where}: --data.label {asked}: no such column of labels{did_you_mean(asked, usable)}"
            )
        return LabelColumn(asked, ())
    found = next((name for name in LABEL_NAMES if name in usable), None)
    if found is None:
        listed = [name for name in usable if columns[name] == "classes"]
        if len(listed) > 1:
            raise UserError(
                f"{where} has several columns of classes ({column_names(listed)}): pass --data.label COLUMN"
            )
        found = listed[0] if listed else None
    if found is None and columns:
        advice = " (--data.label COLUMN makes one of them the label)" if usable else ""
        return LabelColumn(None, (f"the columns {column_names(columns)}{advice}",))
    others = [name for name in columns if columns[name] == "classes" or name in LABEL_NAMES]
    others = [name for name in others if name != found]
    return LabelColumn(found, (f"the labels in {column_names(others)}",) if others else ())


def numbered(
    values: NDArray[Any], where: str, names: Sequence[str] | None = None
) -> tuple[Rows | None, tuple[str, ...]]:
    """Return labels as numbers, int64 [N], and the classes; None and no classes where every label is hidden.

    Integers are numbers of ``names``, or of classes that are called by their numbers; -1 in all rows hides the
    labels. Strings are classes in alphabetical order, booleans the classes false and true.

    Args:
        values: [N], of one of these types.
        where: the data set, for errors.
        names: the classes, where the data set lists them.

    Raises:
        UserError: for a value that is no class, or of another type.
    """
    if values.ndim != 1 or values.dtype.kind not in "iubUO":
        raise UserError(f"{where}: labels of type {values.dtype}: expected integers, strings or booleans")
    if values.dtype.kind in "UO":
        classes, numbers = np.unique(values.astype(str), return_inverse=True)
        return numbers.astype(np.int64), tuple(str(name) for name in classes)
    if values.dtype.kind == "b":
        return values.astype(np.int64), ("false", "true")
    labels = values.astype(np.int64)
    if labels.size and labels.max() < 0:
        return None, ()
    classes = tuple(str(name) for name in names or range(int(labels.max(initial=-1)) + 1))
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        raise UserError(
            f"{where}: label {labels[wrong[0]]} in row {wrong[0]} is not one of its {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
    return labels, classes


def no_column(where: str, asked: str, known: Iterable[str]) -> UserError:
    """Return the error of a column of images that was asked for and is not there."""
    return UserError(f"{where}: --data.image {asked}: no such column of images{did_you_mean(asked, known)}")


def column_names(names: Iterable[str]) -> str:
    """Return names in a line, the first dozen of them."""
    listed = list(names)
    return ", ".join(listed[:_MOST_NAMES]) + (", ..." if len(listed) > _MOST_NAMES else "")
