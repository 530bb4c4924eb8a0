"""What is printed for people to follow, on a screen that may go away while the program works."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class SafeStream:
    """A text stream whose output may be lost: a write that fails is passed over.

    A terminal that was closed, a pipe whose reader is gone and a full disk under a log must not end hours of work.
    Everything but writing is the stream's own.

    Args:
        stream: what to write to; None, as in a program without a console, takes nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if it can be written; return its length."""
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if that is possible."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Say whether the stream is a terminal that is there."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        # tqdm clears the bars of an equal stream before it writes a line
        return isinstance(other, SafeStream) and self._stream is other._stream

    def __hash__(self) -> int:
        return hash(self._stream)


def safe(stream: TextIO | None) -> TextIO:
    """Return a stream as a ``SafeStream``."""
    return cast(TextIO, stream if isinstance(stream, SafeStream) else SafeStream(stream))


def stderr() -> TextIO:
    """Return the standard error of the moment as a ``SafeStream``."""
    return safe(sys.stderr)


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a line for people to follow: on standard error, or ``to`` another stream; lost where it cannot be."""
    stream = safe(sys.stderr if to is None else to)
    stream.write(f"{text}\n")
    stream.flush()
    if to is sys.stdout:
        drop_output()


def drop_output() -> None:
    """Let go what cannot be written to standard output, so that Python does not try again as it ends."""
    with suppress(OSError, ValueError, AttributeError):
        try:
            sys.stdout.flush()
            return
        except OSError:
            pass
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
