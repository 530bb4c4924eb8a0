"""The labels of samples in tar files: ``KEY.cls``, else a key of ``KEY.json``, else the folders of the samples."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vqvae.data.labels import label_column, numbered
from vqvae.data.samples import Piece, Sample
from vqvae.data.source import Rows, printable
from vqvae.data.splits import split_named
from vqvae.errors import UserError

_CLS, _JSON = "cls", "json"
_T = TypeVar("_T")
_LARGEST = 2**20  # bytes of a file of labels
_KINDS = {int: "integer", str: "string", bool: "bool"}

# The name, the path and the samples of each tar file.
Shards = Sequence[tuple[str, Path, list[Sample]]]


@dataclass(frozen=True)
class Labels:
    """The labels of all samples.

    Attributes:
        labels: int64 [N], or None.
        classes: their names.
        left_out: in words, what could be labels and is not used.
        origin: in words, where the labels come from, to follow where the images come from.
    """

    labels: Rows | None = None
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    origin: str = ""


def labels_of(shards: Shards, asked: str | None, where: str) -> Labels:
    """Return the labels of all samples.

    Args:
        shards: the tar files of one split.
        asked: the key of ``KEY.json`` that holds the label; None for the one that ``label_column`` chooses.
        where: the data set, for errors.

    Raises:
        UserError: where some samples have a label and some have none, and for values that are no labels.
    """
    samples = [sample for _, _, found in shards for sample in found]
    if asked is None and any(_CLS in sample.files for sample in samples):
        _refuse_gaps(shards, where)
        values = list(_read(shards, _CLS, _text))
        whole = all(value.removeprefix("-").isdecimal() for value in values)
        return _numbered(np.array([int(value) for value in values] if whole else values), where, "", ())
    kinds = _kinds(shards)
    chosen = label_column(kinds, asked, where)
    if chosen.name is not None:
        values = list(_read(shards, _JSON, lambda name, content: _value(name, content, str(chosen.name))))
        return _numbered(np.array(values), where, f", labels from {chosen.name} in KEY.json", chosen.left_out)
    return _by_folder(samples, where, chosen.left_out)


def _numbered(values: Any, where: str, origin: str, left_out: tuple[str, ...]) -> Labels:
    labels, classes = numbered(values, where)
    if labels is None:
        return Labels(left_out=("the labels, all of which are hidden (-1)", *left_out))
    return Labels(labels, tuple(printable(name) for name in classes), left_out, origin)


def _refuse_gaps(shards: Shards, where: str) -> None:
    for name, _, samples in shards:
        missing = [sample for sample in samples if _CLS not in sample.files]
        if len(missing) == len(samples):
            raise UserError(f"{where}: some tar files have .{_CLS} files and some have none; label all or none")
        if missing:
            raise UserError(
                f"{name}: {printable(missing[0].key)} has no .{_CLS}, but others have; label all or none"
            )


def _read(shards: Shards, extension: str, parse: Callable[[str, bytes], _T]) -> Iterator[_T]:
    """Yield what a file of each sample holds."""
    for name, path, samples in shards:
        with path.open("rb") as file:
            for sample in samples:
                piece = sample.files.get(extension, Piece(0, 0))
                said = f"{name}: {printable(sample.key)}.{extension}"
                yield parse(said, piece.read(file) if piece.size <= _LARGEST else b"")


def _text(name: str, content: bytes) -> str:
    text = content.decode("utf-8", "backslashreplace").strip()
    if not text or len(text) > 200:
        raise UserError(f"{name} is {'too long' if text else 'empty'}: expected the number or the name of a class")
    return text


def _kinds(shards: Shards) -> dict[str, str]:
    """Return what the keys of the first sample's JSON hold."""
    name, path, samples = shards[0]
    first = next(_read([(name, path, samples[:1])], _JSON, lambda _, content: _parsed(content)), None)
    return {key: _KINDS.get(type(value), "other") for key, value in (first or {}).items()}


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _value(name: str, content: bytes, key: str) -> int | str | bool:
    value = (_parsed(content) or {}).get(key)
    if type(value) not in _KINDS:
        raise UserError(f"{name} has no label: its {key} is {json.dumps(value)[:40]}; label all samples or none")
    return value  # pyright: ignore[reportReturnType]


def _by_folder(samples: Sequence[Sample], where: str, left_out: tuple[str, ...]) -> Labels:
    """Take the folders for classes, below those that all samples share."""
    folders = [sample.key.rpartition("/")[0] for sample in samples]
    if len(set(folders)) < 2:
        return Labels(left_out=left_out)
    shared = os.path.commonpath(folders) if all(folders) else ""
    tops = [folder.removeprefix(shared).strip("/").partition("/")[0] for folder in folders]
    named = sorted({top for top in tops if split_named(top) is not None})
    if named:
        raise UserError(
            f"{where}: the tar file holds {printable(', '.join(f'{name}/' for name in named))}, which are splits: "
            "unpack it and pass the folder, or write one tar file for each split"
        )
    if "" in tops:
        beside = tops.count("")
        return Labels(left_out=(*left_out, f"the folders' names, since {beside:,} images lie beside the folders"))
    if len(set(tops)) == len(tops):
        return Labels(left_out=(*left_out, "the folders' names, since each image has a folder of its own"))
    return _numbered(np.array(tops), where, ", classes by the folders in it", left_out)
