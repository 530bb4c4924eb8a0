"""Paths made whole where they are given, so that nothing depends on the folder that a command was started in."""

import os
import re

from vqvae.errors import UserError

_NAMED = re.compile(r"shapes(:.*)?|cifar10|hf:.*|object: .*", re.DOTALL)  # data sets and models that are no paths


def whole_path(text: str | os.PathLike[str]) -> str:
    """Return a path made absolute, with ``~`` as the user's home folder.

    Raises:
        UserError: for an empty path, and for ``~`` where no home folder is known.
    """
    text = os.fspath(text)
    if not text:
        raise UserError("an empty path: give a name, or . for the present folder")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(f"{text}: no such home folder is known: write the path out, or ./{text} for that name")
    return os.path.abspath(expanded)


def whole_spec(text: str | os.PathLike[str]) -> str:
    """Return the name of a data set or of a model, whose path is made absolute where it is a path.

    ``shapes``, ``cifar10`` and ``hf:OWNER/NAME`` are names, and so is a bare word where there is no such file.
    """
    named = isinstance(text, str) and (_NAMED.fullmatch(text) or not (_is_path(text) or os.path.exists(text)))
    return text if isinstance(text, str) and named else whole_path(text)


def _is_path(text: str) -> bool:
    return os.sep in text or text.startswith((".", "~"))
