"""Errors that a user can mend; every other exception is a bug."""

from collections.abc import Iterable
from difflib import get_close_matches

_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory", "bad_alloc", "bad alloc")  # torch's words
_LISTED = 160  # most characters of a list of known words; a longer list is cut


class UserError(Exception):
    """An error that the user can mend. The message is one line: what is wrong, where, and how to mend it.

    The command line prints the line and exits with 2. In Python, the error is raised like any exception.
    """


class ArgumentError(UserError):
    """The value of an argument is wrong: ``num 0: must be 1 or more``.

    Args:
        name: the name of the argument. The command line writes it as an option.
        problem: the rest of the message.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name, self.problem = name, problem


class FormatError(UserError):
    """A file in one of the project's own formats is damaged: cut short, changed, or not what its header says."""


class RankLost(Exception):
    """Another rank of a training has ended or does not answer; its own message says why."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is closest to ``word``, never ``word`` itself; None if no word is close."""
    others = sorted({*known} - {word})
    same = {other.lower(): other for other in others}.get(word.lower())
    return same or next(iter(get_close_matches(word, others, n=1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the closest known word; if none is close, list the known words."""
    others = sorted({*known} - {word})
    if found := closest(word, others):
        return f"; did you mean '{found}'?"
    shown = others
    while len(", ".join(shown)) > _LISTED:
        shown = shown[:-1]
    more = f", ... ({len(others)} in all)" if len(shown) < len(others) else ""
    return f"; known: {', '.join(shown)}{more}" if shown else ""


def what_failed(error: OSError) -> str:
    """Return the file, if it is known, and the system's message: ``runs/x/a.png: No space left on device``."""
    return ": ".join(str(part) for part in (error.filename, error.strerror or str(error)) if part)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the memory of the host or of a device was not enough."""
    if isinstance(error, MemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(text in words for text in _NO_MEMORY)
