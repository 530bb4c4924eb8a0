"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

import hashlib
import json
import os
import signal
import socket
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from vqvae.errors import UserError

_ABANDONED = 3600.0  # seconds without a change, after which a half-written file of another machine is removed
_LONGEST = 128  # bytes of a name that is kept in the name of the half-written file
_WRITES = count()
_WINDOWS = hasattr(signal, "CTRL_C_EVENT")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file; after a crash at any moment, it has the old content or the new content, never a part.

    Raises:
        OSError: with the name of the file, when it cannot be written; nothing is left behind.
    """
    beside = path.with_name(f".{_shortened(path.name)}.{_writer()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # not the half-written file, which nobody asked for
        raise
    finally:
        with suppress(OSError):  # on a read-only disk this fails too
            beside.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # Windows opens no directory
        _flush_directory(path.parent)


def _shortened(name: str) -> str:
    """Return a name, or a hash where the name leaves no room for more: file systems allow 255 bytes."""
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST else hashlib.sha256(raw).hexdigest()[:32]


def _flush_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the rename itself must survive a power cut
    finally:
        os.close(directory)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON."""
    return (json.dumps(value, indent=2) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: when the file is missing or cannot be read, is not JSON, or holds no object.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, not JSON: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged: expected a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a JSON-lines file of metrics; records without a step are left out.

    A crash may cut the last line short, and a resumed run writes after it. So a line that is not JSON is skipped.
    A file that does not exist has no records.
    """
    records: list[dict[str, Any]] = []
    for text in path.read_bytes().decode("utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and type(record.get("step")) is int:  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            records.append(record)  # pyright: ignore[reportArgumentType]
    return records


def make_first_free(path: Path) -> Path:
    """Make the directory ``path``, or the first of ``path-2``, ``path-3``, ... that does not exist; return it."""
    free, number = path, 2
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            free.mkdir()  # not tested before: if several processes try, mkdir succeeds in one of them
            return free
        except FileExistsError:
            free, number = path.with_name(f"{path.name}-{number}"), number + 1


def remove_leftovers(folder: Path, *, of: str = "") -> None:
    """Remove the temporary files that killed processes left in a folder and its sub-folders.

    A temporary file is kept if it may still be in use: if its process lives, or, for a process of another machine
    or container, if the file was changed within the last hour.

    Args:
        folder: the folder to search.
        of: the name of the file that was to be written; by default, of any file.
    """
    for path in folder.rglob(f".{of or '*'}.*.tmp"):
        place, _, process = path.name.split(".")[-2].partition("-")
        with suppress(FileNotFoundError):
            if _is_dead(process) if place == _place() else time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def lives(pid: int) -> bool:
    """Return whether a process of this machine or container has that number; on Windows, it may have."""
    if _WINDOWS:  # number 0 is Ctrl-C there, and would be sent
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _writer() -> str:
    """Return a name that is unique to this write, among all processes, machines and containers."""
    return f"{_place()}-{os.getpid()}-{_started(os.getpid())}-{next(_WRITES)}"


def _is_dead(process: str) -> bool:
    try:
        pid, started, _ = (int(number) for number in process.split("-"))
        return not lives(pid) or started != _started(pid)  # another start: the number was given to a new process
    except (ValueError, OverflowError):
        return True


@cache
def _place() -> str:
    """Return a hash of the machine, its boot and the container: within it, process numbers are unique.

    On Windows, where nothing says which process lives, each process is a place of its own.
    """
    told = [socket.gethostname(), str(os.getpid()) if _WINDOWS else ""]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            told.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text())
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _started(pid: int) -> int:
    """Return the start time of a process in clock ticks; 0 if the system does not tell."""
    try:
        # the second word is the program's name in brackets, which may contain spaces and brackets
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
