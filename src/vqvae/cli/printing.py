"""What commands print and write."""

import json
import math
import os
from pathlib import Path
from typing import Any, cast

from vqvae.errors import UserError


def rank() -> int:
    """Return which of torchrun's processes this is; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def as_json(value: Any) -> str:
    """Return a value as one line of JSON, with null for infinity and NaN, which JSON does not have."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast(list[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def written(picture: Any, out: str) -> Path:
    """Write a picture as PNG and return its path.

    Raises:
        UserError: when the file exists, or cannot be written.
    """
    from vqvae.report.pictures import save_png

    path = not_there(out, "--out")
    try:
        save_png(picture, path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--out {path}: cannot write it: {reason}") from None
    return path


def check_out(out: str, option: str = "--out") -> Path:
    """Check, before the work for a file begins, that the file can be written; return its path.

    Raises:
        UserError: when the file exists, or its folder is not there or cannot be written to.
    """
    path = not_there(out, option)
    if not path.parent.is_dir():
        raise UserError(f"{option} {out}: there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {out}: the folder {path.parent} cannot be written to: choose another")
    return path


def not_there(out: str, option: str) -> Path:
    """Return a path at which there is nothing yet.

    Raises:
        UserError: when there is something.
    """
    path = Path(out)
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten: choose another {option}")
    return path
