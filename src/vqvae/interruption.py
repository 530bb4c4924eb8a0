"""A clean stop: before the first step a signal ends the program there; in the loop it ends the step and saves."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program; what it had saved is whole.

    A KeyboardInterrupt, so that no ``except Exception`` on its way takes it for a failure of what it fell into.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum


class StopRequest:
    """Whether a stop was asked for; ``signum`` is the signal's number, 0 for none."""

    signum = 0
    _at_once = False

    def __bool__(self) -> bool:
        return self.signum != 0

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.signum = signum
        if self._at_once:
            self._at_once = False  # once: a second signal must not break into the save that follows
            raise Interrupted(signum)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise Interrupted where it arrives, for the duration: for work that is done again later."""
        self._at_once = True
        try:
            if self:
                raise Interrupted(self.signum)
            yield
        finally:
            self._at_once = False


class _Once:
    """Raises Interrupted at the first signal; the way out, and its last line, are not broken into."""

    stopping = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            raise Interrupted(signum)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request for the duration; the old handlers come back after it."""
    request = StopRequest()
    with _handling(request.ask) as before:
        try:
            yield request
        finally:
            for old in before:
                if request and isinstance(old, _Once):
                    old.stopping = True


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise Interrupted where the first SIGTERM or SIGINT arrives; the old handlers come back after it."""
    with _handling(_Once()):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[list[Any]]:
    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield list(before.values())
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
