"""Stop on signals: in the training loop after the current step, elsewhere at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ASKED = ("SIGTERM", "SIGINT")
# these end a program that does not handle them: a closed terminal, a batch system's warning, a CPU time limit
_OTHERS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program; all saved files are whole.

    It is a KeyboardInterrupt, so that no ``except Exception`` catches it.

    Attributes:
        exit_code: 128 + the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = 128 + signum


class StopRequest:
    """Says whether a signal asked for a stop; ``signum`` is the number of the signal, or 0."""

    signum = 0
    _at_once = False

    def __bool__(self) -> bool:
        return self.signum != 0

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.signum = self.signum or signum  # the first of several signals
        if self._at_once:
            self._at_once = False  # a second signal must not interrupt the save that follows
            raise Interrupted(signum)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise Interrupted at once during the block: for work that is repeated later."""
        self._at_once = True
        try:
            if self:
                raise Interrupted(self.signum)
            with _named_again(self):
                yield
        finally:
            self._at_once = False


class _Once:
    """Raises Interrupted at the first signal and ignores later ones, so that the last line is printed."""

    stopping = False
    signum = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            self.signum = signum
            raise Interrupted(signum)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn signals into a stop request during the block; afterwards the previous handlers are restored.

    The signals are SIGTERM and SIGINT, and those of SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU that would end the
    program. So a SIGHUP that is ignored (``nohup``) stays ignored, and the handlers of a calling program stay in
    place. Only the main thread handles signals in Python; in another thread, the block changes nothing.
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
    """Raise Interrupted at the first signal during the block; the signals are those of ``stop_on_signals``."""
    once = _Once()
    with _handling(once), _named_again(once):
        yield


def ignore_signals() -> None:
    """Ignore further signals, for a process that has saved everything and is about to exit with its own code."""
    for signum in _signals():
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def _named_again(signalled: "_Once | StopRequest") -> Iterator[None]:
    """Raise Interrupted for the error that compiled code made of it; pydantic's core raises a SchemaError."""
    try:
        yield
    except Exception as error:
        if signalled.signum:
            raise Interrupted(signalled.signum) from error
        raise


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
    """Return whether the handler of a signal is the system's default or one of this module."""
    own = isinstance(handler, _Once) or isinstance(getattr(handler, "__self__", None), StopRequest)
    return own or handler == signal.SIG_DFL
