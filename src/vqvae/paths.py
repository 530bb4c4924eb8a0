"""Make paths absolute as soon as they are given, so that nothing depends on the current folder."""

import os
import re

from vqvae.errors import UserError

_NAMED = re.compile(r"shapes(:.*)?|cifar10|hf:.*|object: .*", re.DOTALL)  # names of data sets and models


def whole_path(text: str | os.PathLike[str]) -> str:
    """Return the absolute path, with ``~`` replaced by the user's home folder.

    Raises:
        UserError: for an empty path, and for ``~`` if no home folder is known.
    """
    text = os.fspath(text)
    if not text:
        raise UserError("an empty path: give a name, or . for the current folder")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(f"{text}: no such home folder is known: write the path out, or ./{text} for that name")
    return os.path.abspath(expanded)


def whole_spec(text: str | os.PathLike[str]) -> str:
    """Return the name of a data set or a model as it is; make a path absolute.

    ``shapes``, ``cifar10`` and ``hf:OWNER/NAME`` are names. A bare word is a name if there is no such file.
    """
    named = isinstance(text, str) and (_NAMED.fullmatch(text) or not (_is_path(text) or os.path.exists(text)))
    return text if isinstance(text, str) and named else whole_path(text)


def is_data_name(text: str) -> bool:
    """Return whether a text is the name of a data set, not a path."""
    return _NAMED.fullmatch(text) is not None


def _is_path(text: str) -> bool:
    return os.sep in text or text.startswith((".", "~"))
