"""One owner a run directory, decided by the kernel, for as long as the owner lives and no longer."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vqvae import files
from vqvae.errors import UserError
from vqvae.files import make_first_free, remove_leftovers
from vqvae.model_io import read_model
from vqvae.ownership import owned
from vqvae.run_directory import RunDirectory
from vqvae.tokens import Store
from vqvae.training import Run

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


HALF = """
import os, sys, time
from pathlib import Path
from vqvae import files
if len(sys.argv) > 2:
    files._place = lambda: sys.argv[2]
os.fsync = lambda descriptor: (print("half", flush=True), time.sleep(60))
files.write_atomically(Path(sys.argv[1]) / "a.json", b"half")
"""


@contextmanager
def _writing(folder: Path, *place: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that has half written a file; yield it and what it writes beside the file."""
    there = set(folder.rglob("*.tmp"))
    with subprocess.Popen(
        [sys.executable, "-c", HALF, str(folder), *place], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "half\n"
        [beside] = set(folder.rglob("*.tmp")) - there
        yield process, beside
        process.kill()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    kept = [tmp_path / "d.tmp", tmp_path / ".lock", tmp_path / ".hidden"]
    for path in kept:
        path.write_text("another's")
    with _writing(tmp_path) as (_, beside), _writing(tmp_path / "checkpoints") as (killed, left):
        killed.kill()
        killed.wait()
        remove_leftovers(tmp_path)
        assert beside.exists() and not left.exists() and all(path.exists() for path in kept)


def test_a_number_that_another_process_has_by_now_is_no_sign_of_life(tmp_path: Path) -> None:
    with _writing(tmp_path) as (killed, left):
        killed.kill()
        killed.wait()
        place, _, started, number = left.name.split(".")[-2].split("-")
        reused = left.with_name(f".a.json.{place}-{os.getppid()}-{started}-{number}.tmp")
        left.rename(reused)
        remove_leftovers(tmp_path)
        assert not reused.exists()


def test_what_another_container_writes_is_left_alone_until_it_is_abandoned(tmp_path: Path) -> None:
    with _writing(tmp_path, "elsewhere") as (process, beside):
        process.kill()  # nobody here can know
        process.wait()
        alike = beside.with_name(f".a.json.elsewhere-{os.getpid()}-1-0.tmp")  # of the number of this process
        alike.write_text("half")
        remove_leftovers(tmp_path)
        assert beside.exists() and alike.exists()
        for path in (beside, alike):
            os.utime(path, times=(time.time() - 3700,) * 2)
        remove_leftovers(tmp_path)
        assert not beside.exists() and not alike.exists()


def test_containers_whose_processes_have_equal_numbers_write_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: list[Path] = []
    replace = os.replace

    def noted(source: Path, target: Path) -> None:
        beside.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    for host in ("one", "other"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        files._place.cache_clear()
        files.write_atomically(tmp_path / "a", b"x")
    files._place.cache_clear()
    assert len(set(beside)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_two_process_namespaces_are_two_places(tmp_path: Path) -> None:
    said = []
    for new in ([], ["unshare", "--pid", "--fork", "--mount-proc"]):
        command = [*new, sys.executable, "-c", "from vqvae import files; print(files._place())"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(done.stderr)
        said.append(done.stdout)
    assert said[0] != said[1]


LIKE_WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
    delattr(signal, name)
signal.CTRL_C_EVENT = 0
for name in ("pread", "pwrite", "O_DIRECTORY", "sched_getaffinity"):
    delattr(os, name)
def kill(pid, number):
    raise AssertionError("on Windows, this sends Ctrl-C")
os.kill = kill
from vqvae.cli import main
main(sys.argv[1:])
"""


def _like_windows(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIKE_WINDOWS, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_a_system_without_file_locks_and_posix_signals_trains_and_encodes_in_one_process(
    tokenizer_run: Run, recipes: dict[str, str], tmp_path: Path
) -> None:
    says = "this system has no file locks: make sure that only one process writes here"
    out, store = tmp_path / "out", tmp_path / "store"
    trained = _like_windows("train", recipes["tokenizer"], "--steps", 6, "--out", out)
    resumed = _like_windows("resume", out, "--steps", 12)
    encoded = _like_windows("encode", out, "--data", "shapes:40", "--out", store)
    for done, path in ((trained, out), (resumed, out), (encoded, store)):
        assert [line for line in done.stderr.splitlines() if "locks" in line] == [f"{path}: {says}"]
    assert read_model(out).card.step == 12
    assert sum(len(shard.rows) for shard in Store.open(store).shards()) == Store.open(store).header.rows


def test_a_dead_owners_name_is_not_taken_for_the_present_ones(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with open(RunDirectory(tmp_path).lock, "w") as lock:
        json.dump({"pid": dead.pid, "host": socket.gethostname(), "command": "train"}, lock)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by another process"), owned(tmp_path):
            pass
