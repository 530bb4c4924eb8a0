"""Work in numbered pieces that any number of processes share. A finished piece is never done again."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from vqvae.ownership import file_locks

_WAIT = 0.2  # seconds before a process tries again to claim pieces that other processes have claimed


def work_through(
    locks: Path,
    pieces: int,
    *,
    done: Callable[[int], bool],
    make: Callable[[int], None],
    tick: Callable[[int], object],
) -> None:
    """Make every piece that is not done; return when all pieces are done.

    A process claims a piece before making it. A claim is a lock of the operating system on one byte of a file. So
    the claim ends with its process, however the process ends, and a waiting process can then claim the piece. On a
    system without file locks, one process makes all pieces; a warning says so.

    Args:
        locks: the lock file; it is made if missing, and stays empty.
        pieces: number of pieces.
        done: returns whether a piece is done; it is called while the piece is claimed.
        make: makes a piece.
        tick: called with each finished piece.
    """
    left = list(range(pieces))
    with _open(locks) as lock:
        while left:
            busy: list[int] = []
            for piece in left:
                with lock.claim(piece) as mine:
                    if not mine:
                        busy.append(piece)
                        continue
                    if not done(piece):
                        make(piece)
                tick(piece)
            left = busy
            if left:
                time.sleep(_WAIT)


class _LockFile:
    """A file of which processes lock single bytes; without file locks, every lock is free."""

    def __init__(self, path: Path, file: int) -> None:
        self._file = file
        self._locks = file_locks(path.parent)

    @contextmanager
    def claim(self, byte: int) -> Generator[bool, None, None]:
        """Lock a byte during the block; yield False if another process has locked it."""
        locks = self._locks
        if locks is None:
            yield True
            return
        try:
            locks.lockf(self._file, locks.LOCK_EX | locks.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            yield False
            return
        try:
            yield True
        finally:
            locks.lockf(self._file, locks.LOCK_UN, 1, byte)

    def wait_for(self, byte: int) -> None:
        """Lock a byte until the file is closed, once no other process locks it."""
        if self._locks is not None:
            self._locks.lockf(self._file, self._locks.LOCK_EX, 1, byte)


@contextmanager
def _open(path: Path) -> Generator[_LockFile, None, None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _LockFile(path, file)
    finally:
        os.close(file)


@contextmanager
def exclusive(locks: Path) -> Generator[None, None, None]:
    """Run the block while no other process runs one with the same file."""
    with _open(locks) as lock:
        lock.wait_for(2**40)  # a byte beyond the bytes of all pieces
        yield
