"""Images that are objects in Python: arrays, tensors, PIL images, torch data sets and Hugging Face data sets."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqvae.data.imageset import ImageSet
from vqvae.data.labels import BY_RULE, Columns, column_names, label_column, no_column, numbered
from vqvae.data.pixels import channels_last
from vqvae.data.source import Content, Item, Rows, Source
from vqvae.data.splits import DataSet, split_named
from vqvae.errors import UserError

# Begins the spec of such images, in a run's config and elsewhere.
OBJECT = "object: "


@runtime_checkable
class MapStyle(Protocol):
    """A torch ``Dataset`` with a length, a list, or whatever else gives an item for each number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class HubDataset(MapStyle, Protocol):
    """A Hugging Face ``datasets.Dataset``, known by its attributes."""

    features: Mapping[str, Any]
    column_names: list[str]


# What ``load`` takes besides a path or a name.
Objects = NDArray[Any] | Tensor | ImageSet | MapStyle | Mapping[str, Any]


def object_splits(data: Any, columns: Columns = BY_RULE) -> DataSet:
    """Return the splits of an object: those that a mapping such as a ``DatasetDict`` names.

    Of any other object, all images are the training split, and all are the test split: a run is trained on one
    object and evaluated on another.

    Args:
        data: pixels [N, H, W, C], [N, C, H, W] or [N, H, W]; a pair of these and labels [N]; a list or torch
            ``Dataset`` of images or (image, label) pairs; a Hugging Face ``Dataset``; an ``ImageSet``; or a
            mapping from ``train``, ``validation`` and ``test`` to any of them.
        columns: of a Hugging Face ``Dataset``, where they are asked for by name.

    Raises:
        UserError: for an object of another kind, or of a shape that could mean two things.
    """
    if not isinstance(data, Mapping):
        name, opened = _opener(data, columns)
        table = isinstance(data, HubDataset)
        # whoever passes an object chose its images: nothing is held out of it for testing
        return DataSet(name, {"train": opened, "test": opened}, takes_label=table, takes_image=table)
    splits = dict[str, Callable[[], Source]]()
    for key, value in cast(Mapping[str, Any], data).items():
        split = split_named(str(key))
        if split is None:
            raise UserError(f"data: no split is called '{key}': call them train, validation and test")
        splits[split] = _opener(value, columns)[1]
    known = any(isinstance(value, HubDataset) for value in data.values())
    return DataSet(f"{OBJECT}{', '.join(splits)}", splits, takes_label=known, takes_image=known)


def _opener(data: Any, columns: Columns) -> tuple[str, Callable[[], Source]]:
    """Return what the data are called, and a function that opens them."""
    if isinstance(data, ImageSet):
        return f"{OBJECT}ImageSet of {len(data):,} images", partial(_image_set, data)
    pixels, labels = data, None
    if isinstance(data, tuple) and len(cast(tuple[Any, ...], data)) == 2:
        pixels, labels = cast(tuple[Any, Any], data)
    if isinstance(pixels, Tensor | np.ndarray):
        name = f"{OBJECT}array of {len(pixels):,} images"
        return name, partial(_array, channels_last(_as_array(pixels)), labels, name)
    if isinstance(data, HubDataset):
        name = f"{OBJECT}Dataset of {len(data):,} rows"
        return name, partial(_hub_dataset, data, columns, name)
    if isinstance(data, MapStyle) and not isinstance(data, str | bytes):
        name = f"{OBJECT}{type(data).__name__} of {len(data):,} images"
        return name, partial(_map_style, data, name)
    raise UserError(
        f"data is of type {type(data).__name__}: pass a path, an array, a Dataset that has a length, or a mapping "
        "of splits to them"
    )


def _image_set(images: ImageSet) -> Source:
    pixels = images.pixels.permute(0, 2, 3, 1).numpy()
    labels = None if images.labels is None else images.labels.numpy()
    return _source(len(images), lambda row: pixels[row], OBJECT, labels, images.classes, images.origin)


def _array(pixels: NDArray[Any], labels: Any, name: str) -> Source:
    numbers, classes = None, ()
    if labels is not None:
        if len(labels) != len(pixels):
            raise UserError(f"{name}: {len(labels)} labels for {len(pixels)} images")
        numbers, classes = numbered(np.asarray(labels), name)
    return _source(len(pixels), lambda row: pixels[row], name, numbers, classes, _shape(pixels))


def _map_style(data: MapStyle, name: str) -> Source:
    """Open a data set whose items are images or (image, label) pairs; every item is read once for its label."""
    first = data[0] if len(data) else None
    labelled = isinstance(first, tuple | list) and len(cast(Sequence[Any], first)) == 2
    labels, classes = None, ()
    if labelled:
        labels, classes = numbered(np.asarray([int(data[row][1]) for row in range(len(data))]), name)
        own: Any = getattr(data, "classes", ())
        if isinstance(own, Sequence) and len(own) >= len(classes):
            classes = tuple(str(label) for label in cast(Sequence[Any], own))

    def read(row: int) -> Any:
        return data[row][0] if labelled else data[row]

    return _source(len(data), read, name, labels, classes, "its items")


def _hub_dataset(data: HubDataset, asked: Columns, name: str) -> Source:
    if asked.image is not None and asked.image not in data.column_names:
        raise no_column(name, asked.image, data.column_names)
    image = asked.image or next(
        (column for column, kind in data.features.items() if type(kind).__name__ == "Image"), None
    )
    image = image or next((column for column in ("image", "img") if column in data.column_names), None)
    if image is None:
        raise UserError(f"{name} has no column of images; its columns: {column_names(data.column_names)}")
    columns = {column: _column_kind(data.features[column]) for column in data.column_names if column != image}
    found = label_column(columns, asked.label, name)
    labels, classes, fixed = None, tuple[str, ...](), False
    if found.name is not None:
        names = getattr(data.features[found.name], "names", None)
        labels, classes = numbered(np.asarray(cast(Any, data)[found.name]), name, names)
        fixed = names is not None
    rows = _undecoded(data, image)
    return _source(
        len(data), lambda row: rows[row][image], name, labels, classes, "its rows", fixed, found.left_out
    )


def _column_kind(feature: Any) -> str:
    if getattr(feature, "names", None) is not None:
        return "classes"
    kind = str(getattr(feature, "dtype", ""))
    known = {"string": "string", "large_string": "string", "bool": "bool"}
    return "integer" if kind.startswith(("int", "uint")) else known.get(kind, "other")


def _undecoded(data: HubDataset, column: str) -> HubDataset:
    """Return a data set whose images come as {bytes, path}, where it can give them so."""
    feature = copy.copy(data.features[column])
    if not hasattr(data, "cast_column") or not hasattr(feature, "decode"):
        return data
    feature.decode = False
    return cast(HubDataset, cast(Any, data).cast_column(column, feature))


def _source(
    count: int,
    read: Callable[[int], Any],
    name: str,
    labels: Rows | None,
    classes: tuple[str, ...],
    origin: str,
    fixed_classes: bool = False,
    left_out: tuple[str, ...] = (),
) -> Source:
    if not count:
        raise UserError(f"{name}: there is no image in it")

    def items(rows: Rows) -> Iterator[Item]:
        return (Item(f"image {row}", _content(read(row), f"image {row} of {name}")) for row in rows.tolist())

    def files(rows: Rows) -> Iterator[str]:
        return (f"{item.name} {_hash(item.content)}" for item in items(rows))

    return Source(
        count=count,
        items=items,
        names=lambda: (f"image {row}" for row in range(count)),
        files=files,
        origin=origin,
        labels=labels,
        classes=classes,
        fixed_classes=fixed_classes,
        left_out=left_out,
    )


def _content(value: Any, name: str) -> Content:
    if isinstance(value, Image.Image | bytes | Path):
        return value
    if isinstance(value, str):
        return Path(value)
    if isinstance(value, Mapping):
        encoded = cast(Mapping[str, Any], value)
        if encoded.get("bytes"):
            return bytes(encoded["bytes"])
        if encoded.get("path"):
            return Path(str(encoded["path"]))
    if isinstance(value, Tensor | np.ndarray):
        return channels_last(_as_array(value)[None])[0]
    raise UserError(f"{name} is of type {type(value).__name__}: expected a PIL image, an array or a tensor")


def _as_array(pixels: Tensor | NDArray[Any]) -> NDArray[Any]:
    return pixels.detach().cpu().numpy() if isinstance(pixels, Tensor) else pixels


def _shape(pixels: NDArray[Any]) -> str:
    return f"pixels {pixels.dtype} {list(pixels.shape)}"


def _hash(content: Content) -> str:
    if isinstance(content, Image.Image):
        content = np.asarray(content)
    if isinstance(content, np.ndarray):
        head = f"{content.dtype} {content.shape} ".encode()
        return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).hexdigest()
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()
