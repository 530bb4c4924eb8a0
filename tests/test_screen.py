"""What is printed for people to follow may be lost; the work goes on. What a command is run for may not."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from tqdm import tqdm

from vqvae.cli import main
from vqvae.files import read_records
from vqvae.run_directory import RunDirectory
from vqvae.screen import SafeStream, say
from vqvae.training import Run

VQVAE = [sys.executable, "-m", "vqvae"]
# buffered, as Python is by default: what a stream has not written is tried again at exit
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class _Gone(StringIO):
    """A stream that refuses every write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "pipe"), OSError(5, "EIO"), OSError(28, "full"), ValueError()]
)
def test_lines_and_bars_on_a_stream_that_is_gone_are_lost_and_nothing_else(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", _Gone(error))
    say("a line")
    with tqdm(total=2, file=SafeStream(sys.stderr), mininterval=0) as bar:  # pyright: ignore[reportArgumentType]
        bar.update()
        bar.write("a line above the bar", file=SafeStream(sys.stderr))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console
    say("a line")


def test_a_stream_that_is_there_gets_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("one")
    say("two", to=sys.stdout)
    assert capsys.readouterr() == ("two\n", "one\n")


@contextmanager
def _terminal_that_closes() -> Iterator[int]:
    master, slave = pty.openpty()
    os.close(master)
    yield slave
    os.close(slave)


@contextmanager
def _pipe_without_a_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def _full_disk() -> Iterator[int]:
    file = os.open("/dev/full", os.O_WRONLY)
    yield file
    os.close(file)


@pytest.mark.parametrize("gone", [_terminal_that_closes, _pipe_without_a_reader, _full_disk])
def test_a_training_whose_screen_is_gone_goes_on_to_its_end(
    gone, recipes: dict[str, str], tokenizer_run: Run, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    with gone() as screen:
        done = subprocess.run(
            [*VQVAE, "train", recipes["tokenizer"], "--out", str(run.path)],
            stdout=screen,
            stderr=screen,
            env={**BUFFERED, "OMP_NUM_THREADS": "1"},
            timeout=120,
        )
    assert done.returncode == 0
    assert [record["step"] for record in read_records(run.metrics)] == [
        record["step"] for record in read_records(tokenizer_run.metrics)
    ]
    assert run.model.exists()


@pytest.mark.parametrize(("gone", "code"), [(_pipe_without_a_reader, 1), (_full_disk, 2)])
def test_a_result_that_cannot_be_printed_is_no_success(gone, code: int, tokenizer_run: Run) -> None:
    with gone() as stdout:
        done = subprocess.run(
            [*VQVAE, "info", str(tokenizer_run.path)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env=BUFFERED,
        )
    assert done.returncode == code
    assert done.stderr == ("vqvae: No space left on device\n" if code == 2 else "")


def test_a_mistake_said_on_a_screen_that_is_gone_has_its_exit_code(tmp_path: Path) -> None:
    with _full_disk() as stderr:
        done = subprocess.run([*VQVAE, "info", str(tmp_path / "none")], stderr=stderr, env=BUFFERED)
    assert done.returncode == 2


def test_a_command_leaves_standard_error_as_it_was(tokenizer_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr
    main(["info", str(tokenizer_run.path)])
    with pytest.raises(SystemExit):
        main(["info", "/nowhere"])
    assert sys.stderr is before


def test_a_closed_terminal_ends_a_training_with_everything_saved(recipes: dict[str, str], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = [*VQVAE, "train", recipes["tokenizer"], "--out", str(run.path), "--steps", "100000"]
        os.execve(sys.executable, command, {**BUFFERED, "OMP_NUM_THREADS": "1"})
    said = b""
    while b"step 6  validation" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)  # the system sends SIGHUP, and nothing can be printed any more
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    newest = max(run.checkpoints.iterdir())
    assert newest.name == f"step-{read_records(run.metrics)[-1]['step']:08d}.safetensors"
