"""What is not finite never reaches the weights, whatever the run is told to do about it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.quantizers.tracker import CodebookTracker
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training import Run, resume
from vqvae.training.checkpoint import VERSION, checkpoint_path, checkpoints
from vqvae.training.loop import Trainer


@pytest.fixture(params=["loss", "gradient", "statistic"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of steps (from 1) at which a NaN comes into loss, gradient or statistic."""
    steps: list[int] = []
    gradients = Trainer._gradients

    def broken_gradients(trainer: Trainer) -> Any:
        metrics, active = gradients(trainer)
        if trainer.step + 1 not in steps:
            return metrics, active
        model = trainer.groups["model"].module
        if request.param == "statistic":
            for part in model.modules():
                if isinstance(part, CodebookTracker):
                    part.noted()[0][0] = torch.nan
            return metrics, active
        weight = next(p for p in model.parameters() if p.grad is not None)
        weight.grad.fill_(torch.nan)
        name = "loss" if request.param == "loss" else "gradient_norm"
        return metrics | {name: torch.tensor(torch.nan)}, active

    monkeypatch.setattr(Trainer, "_gradients", broken_gradients)
    return steps


def test_a_run_stops_before_anything_is_changed(broken: list[int], train_tokenizer: Any, tmp_path: Path) -> None:
    broken.append(6)
    with pytest.raises(UserError, match=r"no longer finite at step 6: [a-z, ]+; the step changed nothing"):
        train_tokenizer(tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000004.safetensors"]


def test_a_skipped_step_changes_nothing_but_the_count(
    broken: list[int], train_tokenizer: Any, tmp_path: Path
) -> None:
    broken += [6, 7]
    settings = {"training__non_finite": "skip", "training__checkpoint_every": "1", "training__keep": "99"}
    run = train_tokenizer(tmp_path / "run", **settings)
    states = {
        step: load_tensors(checkpoint_path(run.checkpoints, step), "vqvae-checkpoint", VERSION)
        for step in range(5, 9)
    }
    for step in (6, 7):
        assert states[step][0]["dropped"] == step - 5
        assert all(torch.equal(states[step][1][name], states[5][1][name]) for name in states[5][1])
    moment = "model/optimizer/exp_avg/encoder.0.weight"
    assert not torch.equal(states[8][1][moment], states[5][1][moment])
    counts = [record.get("dropped") for record in read_records(run.metrics) if record["split"] == "train"]
    assert counts == [None] * 5 + [1] + [2] * 6


def test_backing_off_halves_the_rate_and_resumes_exactly(
    broken: list[int], train_tokenizer: Any, tmp_path: Path
) -> None:
    broken += [5, 9]
    settings = {"training__non_finite": "back_off"}
    run = train_tokenizer(tmp_path / "run", **settings)
    plain = train_tokenizer(tmp_path / "plain", training__non_finite="skip")
    rates = [
        [r.get("learning_rate") for r in read_records(x.metrics) if r["split"] == "train"] for x in (run, plain)
    ]
    for step, (backed_off, rate) in enumerate(zip(*rates, strict=True), start=1):
        if step not in broken:
            assert backed_off == pytest.approx(rate * 0.5 ** sum(s < step for s in broken))
    before = checkpoint_path(run.checkpoints, 12).read_bytes()
    checkpoint_path(run.checkpoints, 12).unlink()
    resume(str(run.path))
    assert checkpoint_path(run.checkpoints, 12).read_bytes() == before


def test_twenty_dropped_steps_in_a_row_end_the_run(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(trainer: Trainer) -> Any:
        return {"loss": torch.tensor(torch.inf), "gradient_norm": torch.tensor(1.0)}, ["model"]

    monkeypatch.setattr(Trainer, "_gradients", diverged)
    with pytest.raises(UserError, match="no longer finite: loss; 20 steps in a row were dropped up to step 20"):
        train_tokenizer(tmp_path / "run", training__non_finite="skip", training__steps="99")


def test_no_file_of_tensors_that_are_not_finite_is_written(tmp_path: Path, tokenizer_run: Run) -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(UserError, match="not written, as 'b' is no longer finite"):
            save_tensors(
                tmp_path / "x.safetensors", "k", 1, {}, {"a": torch.ones(2), "b": torch.tensor([1, value])}
            )
    assert not list(tmp_path.iterdir())
