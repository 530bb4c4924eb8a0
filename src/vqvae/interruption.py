"""A clean stop by a signal: outside the training loop it ends the program at once; in the loop, after the step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ASKED = ("SIGTERM", "SIGINT")
# what ends a program unless it handles them: a closed terminal, a batch system's warning, a limit on CPU time
_OTHERS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program; what it had saved is whole.

    A KeyboardInterrupt, so that no ``except Exception`` takes it for a failure of the code it was raised in.

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
        self.signum = self.signum or signum  # of several, the first
        if self._at_once:
            self._at_once = False  # a second signal must not break into the save that follows
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
    """Raises Interrupted at the first signal; later signals do not break into the way out and its last line."""

    stopping = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            raise Interrupted(signum)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn signals into a request for the duration; the handlers from before come back after it.

    The signals are SIGTERM and SIGINT, and SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU where these end the program: a
    SIGHUP that is ignored (``nohup``) stays ignored, and the handlers of a calling program stay. Python lets the
    main thread alone handle signals, so in another thread this changes nothing.
    """
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
    """Raise Interrupted where the first signal arrives; the signals are those of ``stop_on_signals``."""
    with _handling(_Once()):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[list[Any]]:
    before = {signum: signal.signal(signum, handler) for signum in _signals()}
    try:
        yield list(before.values())
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)


def _signals() -> list[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []
    known = [[signal.Signals[name] for name in names if hasattr(signal, name)] for names in (_ASKED, _OTHERS)]
    return known[0] + [signum for signum in known[1] if _ends_the_program(signal.getsignal(signum))]


def _ends_the_program(handler: Any) -> bool:
    """Tell whether a signal's handler is the system's or one of this module."""
    own = isinstance(handler, _Once) or isinstance(getattr(handler, "__self__", None), StopRequest)
    return own or handler == signal.SIG_DFL
