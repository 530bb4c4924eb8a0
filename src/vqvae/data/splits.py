"""The rule of splits: which images are for training, for validation and for testing.

A data set may come with splits of its own: folders or files named ``train`` (or ``training``), ``validation`` (or
``valid``, ``val``) and ``test`` (or ``testing``), in small or capital letters.

- **test** is read by evaluation alone. It is the set's own test split. Of a set that has only train and
  validation, as ImageNet has, it is the validation split. Of a set that has neither, about 5 % of the images, at
  most 5,000, are held out of train: the images whose names hash lowest.
- **validation** is used while training. Of a set that has all three splits, it is the set's own. Otherwise it is
  the end of the training split: 5,000 rows or 5 %, whichever is less, or as many as were asked for. Where rows lie
  class by class, it is the end of every class.
- **train** is the rest. Training never opens the test split, and nothing in train depends on it.
- **all** is every image of a set that comes without splits of its own. **auto** is all of such a set, and the
  training split of a set with splits, whose other splits it names as left out.

Classes are the training split's. A class that only another split has comes after them, so that a number means the
same class in every split.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vqvae.data.source import Rows, Source
from vqvae.errors import UserError

# What is held out for validation: a number of rows, a share of the training split, or the default rule.
Validation = int | float | Literal["auto"]

SPLITS = ("train", "validation", "test")
WHOLE = ("all", "auto")  # words for a whole set, as encode reads it
_MOST_HELD_OUT, _SHARE_HELD_OUT = 5_000, 0.05
_SPLIT_OF = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_WORD = re.compile(rf"(?:^|[/._-])({'|'.join(_SPLIT_OF)})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class DataSet:
    """The splits that a data set comes with.

    Attributes:
        where: the data set, for errors.
        splits: opens a split by its name, any of train, validation and test.
        files: what a split consists of, for the error of a set without training images.
        advice: how to mark them as training images.
        takes_label: whether the column of labels can be chosen by its name.
        is_remote: whether opening a split may download it.
        takes_image: whether the column of images can be chosen by its name.
    """

    where: str
    splits: Mapping[str, Callable[[], Source]]
    files: str = "images"
    advice: str = "name some train"
    takes_label: bool = False
    is_remote: bool = False
    takes_image: bool = False


def split_named(name: str) -> str | None:
    """Return the split that a folder's name says it is, or None."""
    return _SPLIT_OF.get(name.lower())


def files_by_split(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Sort files by the split in their names, such as ``data/validation-00000-of-00002.parquet``.

    Files without a split in their names are for training where no file is named train.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        words = _WORD.findall(name)
        found.setdefault(_SPLIT_OF[words[-1].lower()] if words else "", []).append(name)
    unnamed = found.pop("", None)
    if unnamed:
        found.setdefault("train", unnamed)
    return {split: tuple(files) for split, files in found.items()}


def beside_train(names: Sequence[str]) -> tuple[str, ...]:
    """Say which files ``files_by_split`` leaves out: without a split in the name, beside files named train."""
    read = {name for files in files_by_split(names).values() for name in files}
    unread = sorted(set(names) - read)
    more = f" and {len(unread) - 1} more" if unread[1:] else ""
    return (f"{unread[0]}{more}: no split in the name, unlike the files named train",) if unread else ()


def open_split(data: DataSet, split: str, validation: Validation = 0) -> Source:
    """Return one split of a data set by the rule that stands at the top of this file.

    Args:
        data: what the data set comes with.
        split: "train", "validation", "test" or "all".
        validation: what is held out of train for validation: a number of rows, a share of them, or "auto" for the
            default rule. 0 holds out nothing; "validation" is then the set's own validation split.

    Raises:
        UserError: for a split that the data set does not have, or one with too few images.
    """
    if split == "all":
        return _all(data)
    if split == "test":
        return _test(data)
    has_own = {"validation", "test"} <= data.splits.keys()
    if has_own and validation == "auto":
        return _own(data, split)
    if validation == 0:
        if split == "train":
            return _undivided(data)
        if has_own:
            return _own(data, split)
        raise UserError(
            f"{data.where} has no validation split beside a test split: say how many rows to hold out, or "
            "read its train or test split"
        )
    return _divided(data, split, validation)


def _own(data: DataSet, split: str) -> Source:
    """Open one of the data set's own splits, its classes numbered as train's are."""
    if split not in data.splits:
        raise UserError(f"{data.where} has no {data.files} for training: {data.advice}")
    source = data.splits[split]()
    if split == "train" or "train" not in data.splits or (source.labels is not None and source.fixed_classes):
        return source
    if source.labels is not None:
        return _numbered_as(data.splits["train"]().classes, source)
    if not data.is_remote and data.splits["train"]().labels is not None:
        without = f"classes, which train has: the {data.files} of this split have none, or hide them"
        return replace(source, left_out=(*source.left_out, without))
    return source


def _numbered_as(classes: tuple[str, ...], source: Source) -> Source:
    """Return a source with these classes, and after them the classes that it alone has."""
    known = {name: label for label, name in enumerate(classes)}
    number = np.array([known.setdefault(name, len(known)) for name in source.classes], np.int64)
    labels = None if source.labels is None else number[source.labels]
    return replace(source, labels=labels, classes=tuple(known))


def whole_split(data: DataSet) -> str:
    """Return the split that "auto" means: all of a set without splits of its own, else its training split."""
    return "all" if set(data.splits) == {"train"} else "train"


def naming_others(source: Source, data: DataSet, split: str) -> Source:
    """Return a split's source that names the other splits of its data set as left out."""
    others = [name for name in SPLITS if name in data.splits and name != split]
    if not others:
        return source
    advice = " or ".join(f"--split {name}" for name in others)
    named = f"the split{'s' * (len(others) > 1)} {' and '.join(others)} ({advice})"
    return replace(source, left_out=(*source.left_out, named))


def _all(data: DataSet) -> Source:
    if set(data.splits) == {"train"}:
        return _own(data, "train")
    names = ", ".join(name for name in SPLITS if name in data.splits)
    raise UserError(f"{data.where} has splits of its own: name one of them: {names}")


def _test(data: DataSet) -> Source:
    if "test" in data.splits:
        return _own(data, "test")
    if "validation" in data.splits:
        source = _own(data, "validation")
        return replace(source, origin=f"{source.origin}; there is no test split, so validation serves as test")
    source = _own(data, "train")
    if source.count == 1:
        one = f"{data.where} holds a single image, which is for training"
        raise UserError(f"{one}: add images, or put some into train/ and test/")
    rows = rows_for_test(source)
    return source.subset(rows, f"{_part(rows, source)}, held out by a hash of their names")


def _undivided(data: DataSet) -> Source:
    """Return the training split before validation rows are held out of it."""
    source = _own(data, "train")
    if data.splits.keys() - {"train"} or source.count == 1:
        return source
    test = rows_for_test(source)
    return source.subset(_others(test, source), f"{source.origin}; {_part(test, source)} are held out for test")


def rows_for_test(source: Source) -> Rows:
    """Return the rows whose names hash lowest.

    The choice is the same on every machine, and nearly the same after images were added.
    """
    names = list(source.names())
    count = min(max(round(_SHARE_HELD_OUT * len(names)), 1), _MOST_HELD_OUT)
    by_hash = sorted(range(len(names)), key=lambda row: hashlib.sha256(os.fsencode(names[row])).digest())
    return np.sort(np.array(by_hash[:count], np.int64))


def _divided(data: DataSet, split: str, validation: Validation) -> Source:
    """Divide the training split into train and validation."""
    source = _undivided(data)
    rows, which = _last_rows(source, _count(validation, source.count, data.where))
    if {"validation", "test"} <= data.splits.keys():
        which += ", in place of the set's own validation split"
    if split == "validation":
        return source.subset(rows, f"{which}, {_part(rows, source)}, of the training split: {source.origin}")
    return source.subset(
        _others(rows, source), f"{source.origin}; {which}, {_part(rows, source)}, are held out for validation"
    )


def _count(validation: Validation, count: int, where: str) -> int:
    """Return how many rows of ``count`` are held out for validation."""
    if validation == "auto":
        wanted = min(max(round(_SHARE_HELD_OUT * count), 1), _MOST_HELD_OUT)
    elif isinstance(validation, int):
        wanted = validation
    else:
        wanted = max(round(validation * count), 1)
    if not 0 < wanted < count:
        raise UserError(
            f"{where}: {wanted} of {count} training images for validation leave none to train on: pass fewer, or "
            "--data.validation 0 to validate on the training images"
        )
    return wanted


def _last_rows(source: Source, count: int) -> tuple[Rows, str]:
    """Return the last rows, or the last rows of each class where rows lie class by class; and which these are."""
    starts = _class_starts(source)
    if starts is None:
        return np.arange(source.count - count, source.count), "the last rows"
    ends = np.append(starts[1:], source.count)
    # rounding the running total keeps the sum exact
    until = np.rint(ends * (count / source.count)).astype(np.int64)
    each = np.diff(until, prepend=0)
    parts = [np.arange(end - number, end) for end, number in zip(ends.tolist(), each.tolist(), strict=True)]
    return np.concatenate(parts), "the last rows of each class"


def _class_starts(source: Source) -> Rows | None:
    """Return the row at which each class begins, or None where the rows do not lie class by class."""
    if source.labels is None or source.count < 2:
        return None
    starts = np.append(0, 1 + np.flatnonzero(np.diff(source.labels)))
    several = 1 < len(starts) == len(np.unique(source.labels[starts]))
    return starts if several else None


def _others(rows: Rows, source: Source) -> Rows:
    return np.setdiff1d(np.arange(source.count), rows, assume_unique=True)


def _part(rows: Rows, source: Source) -> str:
    return f"{len(rows):,} of {source.count:,}"
