"""What commands print and write."""

import os
from pathlib import Path
from typing import Any

from vqvae.errors import UserError


def rank() -> int:
    """Return which of torchrun's processes this is; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


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
        raise UserError(f"--out {path}: cannot write it: {error}") from None
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
