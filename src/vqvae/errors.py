"""The one error that a user can mend; everything else that is raised is a bug."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend. The message is one line: what, where, and how to mend it.

    The command line prints it alone and exits 2; as a library it is raised like any exception.
    """


class FormatError(UserError):
    """A file of the project's own is damaged: cut short, changed, or not what its header says."""


class RankLost(Exception):
    """Another rank of a training is gone or did not answer; its own message says why."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or the known words where none is close."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def what_failed(error: OSError) -> str:
    """Return the file, where it is known, and the system's words: ``runs/x/a.png: No space left on device``."""
    return ": ".join(str(part) for part in (error.filename, error.strerror or str(error)) if part)
