"""Where a model is: a path, the name of a model in this package, or a model of the Hugging Face Hub."""

import os
import re
from pathlib import Path

from vqvae.errors import UserError, closest, did_you_mean
from vqvae.paths import whole_path, whole_spec
from vqvae.run_directory import RunDirectory
from vqvae.screen import say

SHIPPED = Path(__file__).parent / "shipped"
_HUB, _SHIPPED = "hf:", "shipped:"


def shipped_models() -> dict[str, Path]:
    """Return the folders of the models in this package, by name."""
    folders = sorted(SHIPPED.iterdir()) if SHIPPED.is_dir() else []
    return {folder.name: folder for folder in folders if RunDirectory(folder).model.is_file()}


def is_model_name(where: str | os.PathLike[str]) -> bool:
    """Return whether this is the name of a model in this package, and there is no such path."""
    return isinstance(where, str) and (
        where.startswith(_SHIPPED) or (where in shipped_models() and not os.path.exists(where))
    )


def is_hub_repo(where: str) -> bool:
    """Return whether this is OWNER/NAME and there is no such path."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", where) is not None and not os.path.exists(where)


def whole_model(where: str | os.PathLike[str]) -> str:
    """Return the name of a model as it is; make a path absolute.

    Raises:
        UserError: for an empty path, and for ``~`` if no home folder is known.
    """
    if not isinstance(where, str) or not where:
        return whole_path(where)
    if where.startswith((_HUB, _SHIPPED)):
        return where
    if os.path.exists(where):
        _say_which(where)
        return whole_path(where)
    return where if where in shipped_models() else whole_spec(where)


def model_place(where: str | os.PathLike[str]) -> Path:
    """Return the path of the run directory, folder or file of a model.

    Args:
        where: a path; ``shipped:NAME``, or ``NAME`` if there is no such path, for a model in this package; or
            ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` for a model of the Hub, which is downloaded once.

    Raises:
        UserError: when there is no such model in this package or on the Hub. A path need not exist.
    """
    if not isinstance(where, str):
        return Path(where)
    if where.startswith(_HUB):
        from vqvae.hub import model_snapshot

        return model_snapshot(where.removeprefix(_HUB))
    shipped = shipped_models()
    if where.startswith(_SHIPPED):
        name = where.removeprefix(_SHIPPED)
        if name not in shipped:
            raise UserError(f"{where}: no such model in this package{did_you_mean(name, shipped)}")
        return shipped[name]
    if where in shipped and not os.path.exists(where):
        return shipped[where]
    _say_which(where)
    return Path(where)


def name_of_model(where: str | os.PathLike[str]) -> str:
    """Return a short name for files that are made from a model: the last part of its path or name."""
    text = where if isinstance(where, str) else os.fspath(where)
    for prefix in (_HUB, _SHIPPED):
        if isinstance(where, str) and text.startswith(prefix):
            return Path(text.removeprefix(prefix).partition("@")[0]).name
    return Path(text).resolve().name


def not_found(path: Path) -> str:
    """Return the end of the error for a path at which there is no model: the closest name of a shipped model."""
    if len(path.parts) > 1:
        return ""
    found = closest(path.name, shipped_models())
    return f"; did you mean '{found}'?" if found else "; vqvae info lists the models in this package"


def _say_which(where: str) -> None:
    if where in shipped_models():
        say(f"{where}: the path {os.path.abspath(where)} is taken; {_SHIPPED}{where} is the model in this package")
