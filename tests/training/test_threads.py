"""Training works where Python gives it no signals: in a thread, and in a notebook's cell."""

import asyncio
import io
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vqvae.errors import UserError
from vqvae.interruption import interrupt_on_signals, stop_on_signals
from vqvae.training import Run, resume
from vqvae.training.checkpoint import checkpoint_path
from vqvae.training.loop import Trainer


def _in_thread(work: Callable[[], Any]) -> Any:
    """Run work in a thread of its own; return what it returns, or raise what it raises."""
    ends: list[Callable[[], Any]] = []

    def body() -> None:
        try:
            found = work()
            ends.append(lambda: found)
        except BaseException as error:
            raised = error

            def fail() -> None:
                raise raised

            ends.append(fail)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return ends[0]()


def _files(run: Run) -> list[bytes]:
    return [path.read_bytes() for path in (checkpoint_path(run.checkpoints, 12), run.model, run.best)]


def test_both_stages_train_and_resume_in_a_thread_as_in_the_main_thread(
    train_tokenizer: Any, train_prior: Any, tokenizer_run: Run, prior_run: Run, tmp_path: Path
) -> None:
    tokenizer = _in_thread(lambda: train_tokenizer(tmp_path / "tokenizer"))
    assert _files(tokenizer) == _files(tokenizer_run)
    prior = _in_thread(lambda: train_prior(tmp_path / "prior", tokenizer_run))
    assert _files(prior) == _files(prior_run)
    checkpoint_path(prior.checkpoints, 12).unlink()
    assert _files(_in_thread(lambda: resume(str(prior.path)))) == _files(prior_run)


def test_a_thread_leaves_the_signals_to_the_main_thread(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    during: list[Any] = []
    step = Trainer._step

    def watched(trainer: Trainer) -> Any:
        during.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))
        return step(trainer)

    monkeypatch.setattr(Trainer, "_step", watched)
    _in_thread(lambda: train_tokenizer(tmp_path / "run"))
    assert during == [before] * 12


def test_handlers_are_for_the_main_thread_alone() -> None:
    def enter() -> bool:
        with interrupt_on_signals(), stop_on_signals() as stop:
            return bool(stop)

    assert _in_thread(enter) is False


def test_two_threads_never_write_in_one_run(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_tokenizer(tmp_path / "run")
    checkpoint_path(run.checkpoints, 12).unlink()
    refused: list[str] = []
    step = Trainer._step

    def contended(trainer: Trainer) -> Any:
        if not refused:
            with pytest.raises(UserError) as raised:
                _in_thread(lambda: resume(str(run.path)))
            refused.append(str(raised.value))
        return step(trainer)

    monkeypatch.setattr(Trainer, "_step", contended)
    resume(str(run.path))
    assert "in use by process" in refused[0]


class _CellOutput(io.TextIOBase):
    """What a kernel gives a cell for stderr: text only, no file descriptor."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, /) -> int:
        self.text += text
        return len(text)


def test_a_notebooks_cell_trains_and_shows_its_steps(
    train_tokenizer: Any, tokenizer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _CellOutput()
    monkeypatch.setattr(sys, "stderr", output)

    async def cell() -> Run:  # a kernel runs cells inside its event loop
        return train_tokenizer(tmp_path / "run")

    assert _files(asyncio.run(cell())) == _files(tokenizer_run)
    assert "step 12/12  train  loss" in output.text and "step 12/12  validation  nmse" in output.text
