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
    the claim ends with its process, however the process ends, and a waiting process can then claim the piece.

    Args:
        locks: the lock file; it is made if missing, and stays empty.
        pieces: number of pieces.
        done: returns whether a piece is done; it is called while the piece is claimed.
        make: makes a piece.
        tick: called with each finished piece.
    """
    left = list(range(pieces))
    with _open(locks) as file:
        while left:
            busy: list[int] = []
            for piece in left:
                with _claim(file, piece) as mine:
                    if not mine:
                        busy.append(piece)
                        continue
                    if not done(piece):
                        make(piece)
                tick(piece)
            left = busy
            if left:
                time.sleep(_WAIT)


@contextmanager
def _open(locks: Path) -> Generator[int, None, None]:
    file_locks()
    file = os.open(locks, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _claim(file: int, piece: int) -> Generator[bool, None, None]:
    locks = file_locks()
    try:
        locks.lockf(file, locks.LOCK_EX | locks.LOCK_NB, 1, piece)
    except (BlockingIOError, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        locks.lockf(file, locks.LOCK_UN, 1, piece)


@contextmanager
def exclusive(locks: Path) -> Generator[None, None, None]:
    """Run the block while no other process runs one with the same file."""
    with _open(locks) as file:
        file_locks().lockf(file, file_locks().LOCK_EX, 1, 2**40)  # a byte beyond the bytes of all pieces
        yield
