"""One owner a run directory, decided by the kernel, for as long as the owner lives and no longer."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqvae.errors import UserError
from vqvae.files import make_first_free, remove_leftovers
from vqvae.ownership import owned
from vqvae.run_directory import RunDirectory

OWNER = """
import os, sys, time
from pathlib import Path
from vqvae.ownership import owned
with owned(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(60)  # a worker that outlives the owner
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def _owner(folder: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), *more],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_second_process_is_told_who_owns_it_and_a_dead_owner_owns_nothing(tmp_path: Path) -> None:
    with _owner(tmp_path, "with a worker") as owner:
        with pytest.raises(UserError, match=f"in use by process {owner.pid} on .* wait for it, or stop it"):
            with owned(tmp_path):
                raise AssertionError("two owners")
        owner.kill()
        owner.wait()
        _soon_owned(tmp_path)  # a worker forked just now lets go when it first runs
        os.killpg(owner.pid, signal.SIGKILL)


def _soon_owned(path: Path) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            with owned(path):
                return
        except UserError:
            assert time.monotonic() < end, "a dead owner's lock is still held"
            time.sleep(0.02)


def test_a_process_may_own_what_it_owns(tmp_path: Path) -> None:
    with owned(tmp_path):
        with owned(tmp_path / "."):
            pass
        asked = subprocess.run([sys.executable, "-c", OWNER, str(tmp_path)], capture_output=True, text=True)
        assert f"in use by process {os.getpid()}" in asked.stderr
    assert list(tmp_path.iterdir()) == [RunDirectory(tmp_path).lock]


def test_other_ranks_leave_the_owning_to_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _owner(tmp_path) as owner:
        monkeypatch.setenv("RANK", "3")
        with owned(tmp_path):
            pass
        os.killpg(owner.pid, signal.SIGKILL)


def test_of_eight_processes_that_resume_a_run_one_owns_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stage: tokenizer\n")
    for processes in (8, 2):  # the second time beside a dead owner's lock
        command = [sys.executable, "-m", "vqvae", "resume", str(tmp_path)]
        starts = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(processes)]
        refused = 0
        while refused < processes - 1:
            for process in list(starts):
                if process.poll() is not None:
                    assert process.returncode == 2
                    assert process.stderr is not None
                    [line] = process.stderr.read().splitlines()
                    assert "in use by" in line
                    process.stderr.close()
                    starts.remove(process)
                    refused += 1
        [owner] = starts  # still importing torch
        assert owner.poll() is None
        owner.kill()
        owner.communicate()


def test_names_go_to_one_process_each(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vqvae.files import make_first_free\n"
        "print(make_first_free(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "runs" / "name")]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [process.communicate()[0].strip() for process in starts]
    assert len(set(names)) == 4
    assert make_first_free(tmp_path / "runs" / "name").name == "name-5"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / f".a.json.{dead.pid}.tmp", tmp_path / "checkpoints" / f".b.{os.getpid()}.tmp"]
    kept = [tmp_path / f".c.{os.getppid()}.tmp", tmp_path / "d.tmp", tmp_path / ".lock"]
    for path in (*left, *kept):
        path.write_text("half")
    remove_leftovers(tmp_path)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


def test_a_dead_owners_name_is_not_taken_for_the_present_ones(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with open(RunDirectory(tmp_path).lock, "w") as lock:
        json.dump({"pid": dead.pid, "host": socket.gethostname(), "command": "train"}, lock)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by another process"), owned(tmp_path):
            pass
