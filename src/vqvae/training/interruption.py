"""A clean stop: a signal asks, the loop ends its step and saves."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """Training stopped because of a signal, after saving.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopRequest:
    """Whether a stop was asked for; ``signum`` is the signal's number, 0 for none."""

    signum = 0

    def __bool__(self) -> bool:
        return self.signum != 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request for the duration; the old handlers come back after it."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        request.signum = signum

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
