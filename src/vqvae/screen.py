"""Printing to a screen, pipe or log that may disappear while the program runs."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class SafeStream:
    """A text stream that ignores failed writes.

    A closed terminal, a pipe without a reader or a full disk under a log must not end a training. All methods
    except ``write``, ``flush`` and ``isatty`` are the stream's own.

    Args:
        stream: the stream to write to; None, as in a program without a console, drops all output.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if possible; return its length."""
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if possible."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is an open terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        # before tqdm writes a line, it clears the bars on streams that are equal
        return isinstance(other, SafeStream) and self._stream is other._stream

    def __hash__(self) -> int:
        return hash(self._stream)


def safe(stream: TextIO | None) -> TextIO:
    """Return a stream as a ``SafeStream``."""
    return cast(TextIO, stream if isinstance(stream, SafeStream) else SafeStream(stream))


def stderr() -> TextIO:
    """Return the current standard error as a ``SafeStream``."""
    return safe(sys.stderr)


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a line to standard error, or ``to`` another stream, if possible."""
    stream = safe(sys.stderr if to is None else to)
    stream.write(f"{text}\n")
    stream.flush()
    if to is sys.stdout:
        drop_output()


def drop_output() -> None:
    """Discard what standard output and standard error cannot write; otherwise Python would fail on it at exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            try:
                stream.flush()
                continue
            except OSError:
                pass
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
