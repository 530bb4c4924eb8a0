"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

import json
import os
from pathlib import Path
from typing import Any

from vqvae.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, finds the old content or the new, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must survive a power cut
    finally:
        os.close(directory)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


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
    """Read the records of a JSON-lines file of metrics; those with no step in them are left out.

    A crash cuts the last line short, and a resumed run then writes on behind it: a line that is not whole is
    passed over. A file that is not there has no records.
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
            free.mkdir()  # making decides, not looking: of several processes, each gets a directory of its own
            return free
        except FileExistsError:
            free, number = path.with_name(f"{path.name}-{number}"), number + 1


def remove_leftovers(folder: Path) -> None:
    """Remove what ``write_atomically`` of processes that were killed left in a folder and those below it."""
    for path in folder.rglob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if not (pid.isdigit() and int(pid) != os.getpid() and lives(int(pid))):
            path.unlink(missing_ok=True)


def lives(pid: int) -> bool:
    """Say whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
