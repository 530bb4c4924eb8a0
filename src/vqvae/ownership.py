"""Run directories have one owner: a lock that the kernel releases when the owner dies, however it dies.

Windows does not have these locks. There, one line says so, and the user makes sure that one process writes.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOLCK, ENOSYS, ENOTSUP, EWOULDBLOCK
from functools import cache
from pathlib import Path
from types import ModuleType

from vqvae.errors import UserError
from vqvae.files import lives
from vqvae.run_directory import RunDirectory

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOG = logging.getLogger(__name__)
_held: dict[tuple[Path, int], int] = {}  # the open lock files of this process, by directory and thread


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Own an existing directory during the block: no other process or thread may write to it.

    A thread may nest the block. Under ``torchrun``, rank 0 owns the directory for all ranks. On a system or a file
    system without locks, a warning says once that nothing keeps other processes out.

    Raises:
        UserError: when another process or thread owns the directory, or the lock file cannot be written. The
            message names the owner.
    """
    where = path.resolve()
    key = where, threading.get_ident()
    if key in _held or os.environ.get("RANK", "0") != "0" or file_locks(where) is None:
        yield
        return
    _let_go_in_children()
    try:
        _held[key] = _lock(RunDirectory(where).lock, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write in it: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(_held.pop(key))


@cache
def file_locks(path: Path) -> ModuleType | None:
    """Return the module ``fcntl``, which locks files, or None on a system without it.

    Without it, a warning names the path, once.
    """
    if fcntl is None:
        _LOG.warning("%s: this system has no file locks: make sure that only one process writes here", path)
    return fcntl


def _lock(file: Path, path: Path) -> int:
    """Lock the lock file and write the owner into it; return the open file."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(lock, path)
            if _is_at(lock, file):
                who = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv[1:])}
                os.ftruncate(lock, 0)
                os.pwrite(lock, json.dumps(who).encode(), 0)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    locks = file_locks(path)
    assert locks is not None  # else nothing is locked
    try:
        locks.flock(lock, locks.LOCK_EX | locks.LOCK_NB)
    except OSError as error:
        if error.errno == EWOULDBLOCK:
            raise UserError(f"{path}: in use by {_owner(lock)}; wait for it, or stop it") from None
        if error.errno not in (ENOLCK, ENOSYS, ENOTSUP):
            raise
        _LOG.warning("%s: this file system has no locks: make sure that only one process writes here", path)


def _is_at(lock: int, file: Path) -> bool:
    # an owner that gave up before it began has removed the file: a lock on the removed file protects nothing
    try:
        return os.path.samestat(os.fstat(lock), os.stat(file))
    except FileNotFoundError:
        return False


def _owner(lock: int) -> str:
    for _ in range(100):
        try:
            who = json.loads(os.pread(lock, 4096, 0))
            if who["host"] != socket.gethostname() or lives(int(who["pid"])):
                return f"process {who['pid']} on {who['host']} (vqvae {who['command']})"
        except (ValueError, KeyError, TypeError, OverflowError):
            pass
        time.sleep(0.01)  # the new owner has not written its name yet: the file is empty or names a dead owner
    return "another process"


@cache
def _let_go_in_children() -> None:
    # a forked process shares the locks: a worker that outlives the owner would keep the directory locked
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    for lock in _held.values():
        os.close(lock)
    _held.clear()
