"""The columns of a parquet file: which one holds the images, and what the others hold."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from vqvae.data.decoding import measure
from vqvae.data.labels import column_names
from vqvae.errors import UserError

_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "pixels")
_PATHS = (*_NAMES, "path", "file", "filename", "file_name", "filepath", "image_path")


def image_column(
    schema: Any, first: Callable[[str], Any], lies_there: Callable[[str], bool], where: str
) -> tuple[str | None, list[str]]:
    """Choose the column of images: of structs of bytes and path, else of encoded images, else of paths to images.

    Args:
        schema: of the table.
        first: gives the first value of a column.
        lies_there: tells whether a file lies at a path.
        where: the table, for errors.

    Returns:
        The column, or None without any; and the other columns of images.

    Raises:
        UserError: where several columns hold images, and none has a name such as ``image``.
    """
    structs = [field.name for field in schema if _is_struct(field.type)]
    found = structs or [
        field.name for field in schema if _is_binary(field.type) and _is_encoded(first(field.name))
    ]
    if not found:
        named = [field.name for field in schema if _is_string(field.type) and field.name.lower() in _PATHS]
        found = [name for name in named if lies_there(first(name) or "")][:1]
    if len(found) < 2:
        return (found[0] if found else None), []
    chosen = next((name for name in _NAMES if name in found), None)
    if chosen is None:
        raise UserError(f"{where} has several columns of images ({column_names(found)}): pass --data.image COLUMN")
    return chosen, [name for name in found if name != chosen]


def kind_of_column(field: Any, schema: Any) -> str:
    """Return what a column holds, in the words of ``label_column``."""
    if listed_classes(schema, field.name) is not None:
        return "classes"
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_boolean(kind):
        return "bool"
    return "string" if _is_string(kind) else "other"


def listed_classes(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """Read the classes that the datasets library leaves in the schema of a file that it wrote, or None."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def path_inside(path: str, file: Path, root: Path | None) -> Path | None:
    """Return where an image lies: a path relative to its table or to the data set, or absolute within the set.

    Args:
        path: as the table has it.
        file: the table.
        root: the folder of the data set; None where only the table is there.

    Returns:
        A path, with or without a file; None for one that leads out of the data set.
    """
    if root is None:
        return None
    within = Path(os.path.abspath(root))
    places = [Path(os.path.abspath(base / path)) for base in (file.parent, within)]
    found = [place for place in places if place.is_relative_to(within)]
    return next((place for place in found if place.is_file()), found[0] if found else None)


def _is_struct(kind: Any) -> bool:
    return pa.types.is_struct(kind) and "bytes" in {kind.field(i).name for i in range(kind.num_fields)}


def _is_binary(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_string(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_encoded(value: Any) -> bool:
    return isinstance(value, bytes) and bool(value) and measure(value) is not None
