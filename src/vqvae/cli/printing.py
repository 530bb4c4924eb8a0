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
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"--out {path}: cannot write it: {reason}") from None
    return path


def check_out(out: str) -> None:
    """Check, before a picture is made, that it can be written.

    Raises:
        UserError: when the file exists, or its folder is not there or cannot be written to.
    """
    folder = not_there(out, "--out").parent
    if not folder.is_dir():
        raise UserError(f"--out {out}: there is no folder {folder}: make it first")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--out {out}: the folder {folder} cannot be written to: choose another")


def not_there(out: str, option: str) -> Path:
    """Return a path at which there is nothing yet.

    Raises:
        UserError: when there is something.
    """
    path = Path(out)
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten: choose another {option}")
    return path
