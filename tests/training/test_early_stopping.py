"""A run ends once its held-out measurements stop getting better, the same whether it was interrupted or not."""

import signal
from pathlib import Path
from typing import Any

import pytest

from vqvae.files import read_records
from vqvae.model_io import read_model
from vqvae.training import Interrupted, Run, resume
from vqvae.training.checkpoint import checkpoints
from vqvae.training.early_stopping import EarlyStopping
from vqvae.training.loop import Trainer


def _records(*values: float, measure: str = "bits_per_code_prior") -> list[dict[str, Any]]:
    train = [{"step": step, "split": "train", measure: 0.0} for step in range(1, 100)]
    return train + [{"step": 5 * at, "split": "validation", measure: value} for at, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("evaluations", "values", "over"),
    [
        (2, [], False),
        (2, [3.0], False),
        (2, [3.0, 4.0], False),
        (2, [3.0, 4.0, 5.0], True),
        (2, [3.0, 4.0, 2.0], False),
        (2, [3.0, 2.0, 2.0, 2.0], True),  # no better is not better
        (2, [3.0, 2.0, 2.0 + 1e-9, 2.0 - 1e-9], True),  # a record holds seven digits
        (1, [3.0, 3.1], True),
        (0, [3.0, 4.0, 5.0, 6.0], False),
    ],
)
def test_patience_is_over_after_so_many_evaluations_without_a_new_best(
    evaluations: int, values: list[float], over: bool
) -> None:
    for measure in ("bits_per_code_prior", "nmse"):
        records = _records(*values, measure=measure)
        assert EarlyStopping(evaluations, measure, records).over is over
        noted = EarlyStopping(evaluations, measure, [])
        for record in records:
            if record["split"] == "validation":
                noted.note(record["step"], record)
        assert noted.over is over


def test_a_measurement_repeated_after_a_crash_counts_once() -> None:
    patience = EarlyStopping(2, "bits_per_code_prior", [*_records(3.0, 4.0), *_records(3.0, 4.0)])
    assert not patience.over and patience.values == {5: 3.0, 10: 4.0}


# a rate that ruins the model: the first measurement stays the best
RUINED = {"training__learning_rate": "1.0", "training__steps": "40", "training__evaluate_every": "3"}
RUINED |= {"training__early_stopping": "2", "training__checkpoint_every": "100", "training__weight_ema": "0.0"}
RUINED |= {"training__warmup": "0", "training__clip": "0", "data__flip": "true"}


def _heldout(run: Run) -> list[dict[str, Any]]:
    return [record for record in read_records(run.metrics) if record["split"] == "validation"]


def test_a_run_out_of_patience_is_saved_and_complete(
    train_prior: Any, tokenizer_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train_prior(tmp_path / "run", tokenizer_run, **RUINED)
    bits = [record["bits_per_code_prior"] for record in _heldout(run)]
    best = bits.index(min(bits))
    assert len(bits) == best + 3 and len(bits) < 13
    last = 3 * len(bits)
    assert [path.stem for path in checkpoints(run.checkpoints)] == [f"step-{last:08d}"]
    assert read_model(run.path).card.step == last
    assert f"ended at step {last} by training.early_stopping" in caplog.text
    before = run.metrics.read_bytes(), run.model.read_bytes()
    resume(str(run.path))
    assert (run.metrics.read_bytes(), run.model.read_bytes()) == before


def test_a_signal_at_an_evaluation_costs_neither_the_measurement_nor_the_early_end(
    train_prior: Any, tokenizer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_prior(tmp_path / "whole", tokenizer_run, **RUINED)
    stops, step_of = [3, 5, 6], Trainer._step

    def step(trainer: Trainer) -> Any:
        if trainer.step + 1 in stops:
            stops.remove(trainer.step + 1)
            signal.raise_signal(signal.SIGTERM)
        return step_of(trainer)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(Interrupted):
        train_prior(tmp_path / "parts", tokenizer_run, **RUINED)
    while stops:
        with pytest.raises(Interrupted):
            resume(str(tmp_path / "parts"))
    parts = resume(str(tmp_path / "parts"))
    assert _heldout(parts) == _heldout(whole)
    assert parts.model.read_bytes() == whole.model.read_bytes()
