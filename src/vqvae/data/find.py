"""From a name, a path or an object to the data set that it means."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from vqvae.data.cifar import find_cifar
from vqvae.data.folder import find_folder
from vqvae.data.hub import hub_files
from vqvae.data.objects import OBJECT, Objects, object_splits
from vqvae.data.parquet import find_parquet
from vqvae.data.shapes import shapes
from vqvae.data.splits import DataSet
from vqvae.data.webdataset import find_tars
from vqvae.errors import UserError, did_you_mean

_CIFAR10_REPO = "uoft-cs/cifar10"
# What a folder may hold, in the order in which they are looked for; the last takes every folder.
_LAYOUTS: tuple[Callable[[Path, str | None], DataSet | None], ...] = (
    find_parquet,
    find_cifar,
    find_tars,
    find_folder,
)


def find_data(data: str | Path | Objects, label: str | None = None) -> DataSet:
    """Return the data set that a name, a path or an object means.

    Args:
        data: as ``vqvae.data.load`` takes it.
        label: the column of labels, where the images come in a table.

    Raises:
        UserError: for what means no data set, and for a column of labels where there are no columns.
    """
    if isinstance(data, str):
        found = _named(data, label) or _at(data, label)
    else:
        found = _at(str(data), label) if isinstance(data, Path) else object_splits(data, label)
    if label is not None and not found.takes_label:
        raise UserError(f"{found.where}: --data.label {label}: its images do not come in a table with columns")
    return found


def _named(spec: str, label: str | None) -> DataSet | None:
    """Return the data set that is not at a path, or None for a path."""
    if spec.startswith(OBJECT):
        raise UserError(f"'{spec}' was an object in Python: pass it again, as in vqvae.resume(path, data=...)")
    if spec == "shapes":
        return shapes()
    if spec.startswith("shapes:"):
        return shapes(_shapes_count(spec))
    if spec == "cifar10":
        return hub_files(_CIFAR10_REPO, label)
    return hub_files(spec.removeprefix("hf:"), label) if spec.startswith("hf:") else None


def _at(spec: str, label: str | None) -> DataSet:
    path = Path(os.path.expanduser(spec))
    if path.is_dir():
        return next(found for find in _LAYOUTS if (found := find(path, label)) is not None)
    if path.exists():
        raise UserError(f"{spec} is a file: pass the folder it is in, or unpack it and pass that folder")
    known = ("shapes", "cifar10", "hf:OWNER/NAME")
    if "/" in spec or spec.startswith((".", "~")):
        raise UserError(f"no folder {spec}: pass one of {', '.join(known)}, or a path that exists")
    raise UserError(f"no data set '{spec}'{did_you_mean(spec, known)} (or a path that exists)")


def _shapes_count(spec: str) -> int:
    count = spec.removeprefix("shapes:")
    if not re.fullmatch("[1-9][0-9]{0,6}", count):
        raise UserError(f"{spec}: pass a number of training images below ten million, as in shapes:50000")
    return int(count)
