"""``--plugin``: modules with components of the user's own."""

import importlib
import sys
import traceback
from importlib import util
from pathlib import Path
from types import ModuleType

from vqvae.errors import UserError
from vqvae.paths import whole_path


def import_plugin(name: str) -> None:
    """Import a module; its components are then known.

    Args:
        name: the name of a module, searched for in the current folder and then on Python's path; or the path of a
            ``.py`` file.

    Raises:
        UserError: when there is no such module, or its import fails; the message names the file and line.
    """
    file = Path(whole_path(name)) if name.endswith(".py") else None
    folder = str(file.parent if file else Path.cwd())
    # the folder comes first while the plugin is imported, as for a script, and last afterwards: a file of the user
    # such as random.py must not replace a module that the program imports later
    sys.path.insert(0, folder)
    try:
        _import(name, file)
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)


def _import(name: str, file: Path | None) -> None:
    try:
        if file is None:
            importlib.import_module(name)
        else:
            _import_file(file, name)
    except UserError:
        raise
    except Exception as error:
        if _is_missing(name, error):
            raise UserError(f"--plugin {name}: no such module in this folder or on Python's path") from None
        raise UserError(f"--plugin {name}: its import failed: {_where(error)}{_what(error)}") from None


def _is_missing(name: str, error: Exception) -> bool:
    """Say whether the plugin itself was not found, and not a module that it imports."""
    if isinstance(error, ModuleNotFoundError):
        return bool(error.name) and f"{name}.".startswith(f"{error.name}.")
    # no line of the plugin ran: its name cannot be a module's, such as "" or ".x"
    return not isinstance(error, SyntaxError) and not _steps(error)


def _import_file(file: Path, name: str) -> ModuleType:
    if not file.is_file():
        raise UserError(f"--plugin {name}: no such file")
    known = sys.modules.get(file.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(file):
            return known
        raise UserError(f"--plugin {name}: a module {file.stem} is imported already: rename the file")
    spec = util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[file.stem] = module  # before it runs, as Python's own import does
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.stem]
        raise
    return module


def _steps(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the lines of the plugin, and of what it calls, that led to an error."""
    ours = (__file__, "<frozen", str(Path(importlib.__file__).parent))
    return [step for step in traceback.extract_tb(error.__traceback__) if not step.filename.startswith(ours)]


def _where(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: "
    steps = _steps(error)
    return f"{steps[-1].filename}, line {steps[-1].lineno}: " if steps else ""


def _what(error: Exception) -> str:
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
