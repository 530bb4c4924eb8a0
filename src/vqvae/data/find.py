"""From a name, a path or an object to the data set that it means."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from vqvae.data.archives import Place
from vqvae.data.arrays import find_arrays
from vqvae.data.cifar import find_cifar
from vqvae.data.folder import find_folder
from vqvae.data.hub import hub_files
from vqvae.data.idx import find_idx
from vqvae.data.labels import BY_RULE, Columns
from vqvae.data.listing import is_image
from vqvae.data.objects import OBJECT, Objects, object_splits
from vqvae.data.parquet import find_parquet
from vqvae.data.shapes import shapes
from vqvae.data.splits import DataSet
from vqvae.data.webdataset import find_tars
from vqvae.errors import UserError, did_you_mean
from vqvae.screen import say

_NAMES = ("shapes", "cifar10")
_CIFAR10_REPO = "uoft-cs/cifar10"
# What a folder or file may hold, in the order in which it is looked for. Each returns None where it is not there.
Layout = Callable[[Place, Columns], DataSet | None]
_LAYOUTS: list[Layout] = [
    find_cifar,
    find_idx,
    find_tars,
    find_parquet,
    find_arrays,
]


def add_layout(find: Layout) -> None:
    """Add a layout of one's own, which is looked for before the others.

    Args:
        find: takes the place that the user named, and the columns that the user asked for by name; returns the
            data set there, or None where the place holds none of its kind.
    """
    if find not in _LAYOUTS:
        _LAYOUTS.insert(0, find)


def is_data_file(path: Path) -> bool:
    """Tell whether a path is a file that holds a data set, and not a single image."""
    return path.is_file() and not is_image(path.name) and any(find(Place(path), BY_RULE) for find in _LAYOUTS)


def find_data(data: str | Path | Objects, columns: Columns = BY_RULE) -> DataSet:
    """Return the data set that a name, a path or an object means.

    Args:
        data: as ``vqvae.data.load`` takes it.
        columns: what is asked for by name, where the images come in a table.

    Raises:
        UserError: for what means no data set, an empty name, and for a column where there are no columns.
    """
    if isinstance(data, str) and not data:
        raise UserError("no images are named: --data SPEC, such as --data FOLDER, names them")
    if isinstance(data, str):
        found = _named(data, columns) or _at(data, columns)
    else:
        found = _at(str(data), columns) if isinstance(data, Path) else object_splits(data, columns)
    without = "its images do not come in a table with columns"
    if columns.label is not None and not found.takes_label:
        raise UserError(f"{found.where}: --data.label {columns.label}: {without}")
    if columns.image is not None and not found.takes_image:
        raise UserError(f"{found.where}: --data.image {columns.image}: {without}")
    return found


def _named(spec: str, columns: Columns) -> DataSet | None:
    """Return the data set that is not at a path, or None for a path."""
    if spec.startswith(OBJECT):
        raise UserError(f"'{spec}' was an object in Python: pass it again, as in vqvae.resume(path, data=...)")
    if spec in _NAMES and os.path.exists(spec):
        _say_which(spec, os.path.abspath(spec))
    if spec == "shapes":
        return shapes()
    if spec.startswith("shapes:"):
        return shapes(_shapes_count(spec))
    if spec == "cifar10":
        return hub_files(_CIFAR10_REPO, columns)
    return hub_files(spec.removeprefix("hf:"), columns) if spec.startswith("hf:") else None


@cache  # once, though each split is found anew
def _say_which(name: str, path: str) -> None:
    say(f"{name}: the data set of this name is taken; --data ./{name} is the path {path}")


def _at(spec: str, columns: Columns) -> DataSet:
    path = Path(os.path.expanduser(spec))
    if path.exists():
        place = Place(path)
        for find in _LAYOUTS:
            found = find(place, columns)
            if found is not None:
                return found
    if path.is_dir():
        return find_folder(path, columns)
    if path.exists():
        raise UserError(f"{spec} is a file: pass the folder it is in, or unpack it and pass that folder")
    known = (*_NAMES, "hf:OWNER/NAME")
    if "/" in spec or spec.startswith((".", "~")):
        raise UserError(f"no folder {spec}: pass one of {', '.join(known)}, or a path that exists")
    raise UserError(f"no data set '{spec}'{did_you_mean(spec, known)} (or a path that exists)")


def _shapes_count(spec: str) -> int:
    count = spec.removeprefix("shapes:")
    if not re.fullmatch("[1-9][0-9]{0,6}", count):
        raise UserError(f"{spec}: pass a number of training images below ten million, as in shapes:50000")
    return int(count)
