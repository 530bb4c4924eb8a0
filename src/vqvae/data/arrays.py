"""Arrays in ``.npz`` and ``.npy`` files: pixels [N, H, W, C], [N, C, H, W] or [N, H, W], and labels [N].

What an array is follows from its words, the words of its key and of its file: ``x_train`` and ``y_train`` as Keras
writes them, ``train_images`` and ``train_labels``, ``test/images.npy`` and ``test/labels.npy``. Arrays whose files
differ only in numbers are parts of one array.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqvae.data.archives import Place, left_beside
from vqvae.data.array_files import LABEL_WORDS, Array, arrays_of, split_of_file, words_of
from vqvae.data.labels import BY_RULE, LABEL_NAMES, Columns, column_names, label_column, no_column, numbered
from vqvae.data.pixels import channels_last
from vqvae.data.source import Item, Rows, Source, by_file, lines_of_files
from vqvae.data.splits import DataSet
from vqvae.errors import UserError

_IMAGES = {"x", "image", "images", "img", "imgs", "data", "pixels"}
_KINDS = {"b": "bool", "i": "integer", "u": "integer", "U": "string", "S": "string"}


def find_arrays(place: Place, columns: Columns = BY_RULE) -> DataSet | None:
    """Return the splits of a folder's .npz and .npy files, or of one such file; None without any.

    Raises:
        UserError: where no array is of images, and where image files lie beside arrays of images.
    """
    path, folder = place.path, place.folder
    names = place.files(lambda name: name.lower().endswith((".npz", ".npy")))
    if not names:
        return None
    # the headers of the files that are named as test or validation are read when these splits are
    later = [name for name in names if split_of_file(name) not in (None, "train")]
    arrays = _read_headers(folder, [name for name in names if name not in later])
    images = [array for array in arrays if array.is_image]
    if place.holds_images and not images:
        return None
    if not images and not later:
        raise _no_images(path, arrays)
    if place.holds_images:
        raise UserError(
            f"{path} holds image files and arrays of images ({column_names(map(str, images))}): pass one of the "
            "array files, or move them out of the folder"
        )
    splits = {array.split for array in images}
    if None in splits and "train" in splits:
        unnamed = [str(array) for array in images if array.split is None]
        raise UserError(f"{path}: {column_names(unnamed)} beside a train split: name the split of each array")
    splits |= {split_of_file(name) for name in later}
    stray = [str(array) for array in arrays if array.split not in splits]
    left_out = (f"the arrays {column_names(stray)}, of no split of images",) if stray else ()
    opened = dict[str, Callable[[], Source]]()
    for split in splits:
        some = [array for array in arrays if array.split == split]
        unread = [name for name in later if split_of_file(name) == split]
        how = partial(_open, some, folder, unread, columns, str(path), left_out + left_beside(place, names))
        opened[split or "train"] = how  # without a name, all is for training
    return DataSet(str(path), opened, "arrays", "name one x_train", takes_label=True, takes_image=True)


def _read_headers(folder: Path, names: Sequence[str]) -> list[Array]:
    return [array for name in names for array in arrays_of(folder / name, name)]


def _no_images(path: Path | str, arrays: Sequence[Array]) -> UserError:
    found = column_names(f"{array} {array.dtype} {list(array.shape)}" for array in arrays)
    expected = "[N, H, W, C], [N, C, H, W] or [N, H, W]"
    if any(array.dtype.hasobject for array in arrays):
        expected += "; an array of Python objects is a pickle, which is never loaded"
    return UserError(f"{path} has no array of images: {found or 'nothing in it'}; expected {expected}")


def _open(
    known: Sequence[Array],
    folder: Path,
    unread: Sequence[str],
    asked: Columns,
    where: str,
    beside: tuple[str, ...],
) -> Source:
    """Return one split.

    Args:
        known: its arrays whose headers were read.
        folder: where the files are.
        unread: the names of its other files.
        asked: what is asked for by name.
        where: the data set, for errors.
        beside: in words, what is left out beside the arrays of this split.

    Raises:
        UserError: where several arrays could be the images, and for arrays that do not fit each other.
    """
    arrays = [*known, *_read_headers(folder, unread)]
    parts = _images(arrays, asked.image, where)
    pixels = [_pixels(part) for part in parts]
    if len({array.shape[1:] for array in pixels}) > 1:
        raise UserError(
            f"{where}: {parts[0]} and {parts[-1]} hold images of different shapes: pass one of the files"
        )
    sizes = [len(array) for array in pixels]
    labels, classes, left_out = _labels(
        [array for array in arrays if array not in parts], asked.label, parts, where
    )
    names = [str(part) for part in parts]
    return Source(
        count=sum(sizes),
        items=partial(_items, names, pixels),
        names=lambda: (
            _row_name(name, row) for name, size in zip(names, sizes, strict=True) for row in range(size)
        ),
        files=partial(
            lines_of_files, [(part.path, str(part), size) for part, size in zip(parts, sizes, strict=True)]
        ),
        origin=f"{parts[0]}, {parts[0].dtype} {list(parts[0].shape)}"
        + f" and {len(parts) - 1} more" * (len(parts) > 1),
        labels=labels,
        classes=classes,
        left_out=left_out + beside,
    )


def _images(arrays: Sequence[Array], asked: str | None, where: str) -> list[Array]:
    """Return the array of images, or its parts in the order of their numbers."""
    found = [array for array in arrays if array.is_image]
    if not found:
        raise _no_images(where, arrays)
    if asked is not None:
        known = [array.role for array in found]
        found = [array for array in found if array.is_called(asked)]
        if not found:
            raise no_column(where, asked, known)
    if len({array.part for array in found}) > 1:
        found = [array for array in found if _IMAGES & {*words_of(array.role)}] or found
    if len({array.part for array in found}) > 1:
        raise UserError(
            f"{where}: several arrays could be the images ({column_names(map(str, found))}): pass --data.image "
            "NAME, or one of the files"
        )
    return sorted(found, key=lambda array: array.numbers)


def _pixels(array: Array) -> NDArray[Any]:
    shape = array.shape
    if len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3, 4)):
        raise UserError(
            f"{array} {list(shape)}: one image, or {shape[0]} grey ones? put all images into one array "
            "[N, H, W, C], where [N, H, W, 1] is grey"
        )
    if 0 in shape:
        raise UserError(f"{array} {list(shape)}: there is no image in it")
    return channels_last(array.read(), where=str(array))


def _labels(
    arrays: Sequence[Array], asked: str | None, parts: Sequence[Array], where: str
) -> tuple[Rows | None, tuple[str, ...], tuple[str, ...]]:
    """Return labels, classes, and in words the arrays that are not used."""
    counts = [part.shape[0] for part in parts]
    columns = dict[str, list[Array]]()
    for array in sorted(arrays, key=lambda array: array.numbers):
        columns.setdefault(asked if asked and array.is_called(asked) else _column(array), []).append(array)
    kinds = {name: _kind(found, counts) for name, found in columns.items()}
    chosen = label_column(kinds, asked, where)
    _refuse_lengths(columns, kinds, sum(counts), where)
    if chosen.name is None:
        return None, (), chosen.left_out
    values = np.concatenate([array.read().reshape(-1) for array in columns[chosen.name]])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "backslashreplace")
    listed = next(
        (found[0] for name, found in columns.items() if kinds[name] == "other" and _lists_classes(found)), None
    )
    names = None if listed is None else [str(name) for name in listed.read().tolist()]
    labels, classes = numbered(values, where, names)
    unused = [name for name, found in columns.items() if name != chosen.name and found[0] is not listed]
    return labels, classes, (f"the arrays {column_names(unused)}",) if unused else ()


def _column(array: Array) -> str:
    """Return an array's name as a column: one that is called a label in ``LABEL_NAMES`` where its words say so."""
    singular = array.role.lower().removesuffix("s")
    if singular in LABEL_NAMES:
        return singular
    plain = (
        {*words_of(array.role)} <= LABEL_WORDS
        or (array.is_label and not array.key)
        or array.key.startswith("arr_")
    )
    return "label" if array.is_label and plain else array.role


def _kind(found: Sequence[Array], counts: Sequence[int]) -> str:
    """Return what an array or its parts hold; "other" unless it is one value for each image."""
    flat = all(len(array.shape) == 1 or array.shape[1:] == (1,) for array in found)
    sizes = [array.shape[0] for array in found if array.shape]
    fits = sizes == list(counts) or (len(found) == 1 and sizes == [sum(counts)])
    return _KINDS.get(found[0].dtype.kind, "other") if flat and fits else "other"


def _refuse_lengths(columns: dict[str, list[Array]], kinds: dict[str, str], count: int, where: str) -> None:
    """Refuse labels that are numbers and do not fit the images."""
    for name, found in columns.items():
        if name in LABEL_NAMES and kinds[name] == "other" and found[0].dtype.kind in "biuf":
            raise UserError(
                f"{where}: the labels {found[0]} {found[0].dtype} {list(found[0].shape)} for {count} images: "
                f"expected whole numbers [{count}]; mend them, or take them out of the file"
            )


def _lists_classes(found: Sequence[Array]) -> bool:
    words = {*words_of(found[0].role)}
    return found[0].dtype.kind == "U" and len(found[0].shape) == 1 and bool({"names", "classes", "class"} & words)


def _items(names: Sequence[str], pixels: Sequence[NDArray[Any]], rows: Rows) -> Iterator[Item]:
    for index, _, within in by_file(rows, [len(array) for array in pixels]):
        for row in within.tolist():
            yield Item(_row_name(names[index], row), pixels[index][row])


def _row_name(name: str, row: int) -> str:
    return f"{name} image {row}"
