"""Resume equals no interruption, bit for bit."""

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from vqvae.errors import UserError
from vqvae.files import read_records, write_json
from vqvae.training import Interrupted, Run, resume
from vqvae.training.checkpoint import checkpoint_path, checkpoints
from vqvae.training.loop import Trainer

STOPS = sorted(random.Random(0).sample(range(1, 12), 5))


class _SignalAt:
    """Sends this process a signal during each of the given steps of a training."""

    def __init__(self, patch: pytest.MonkeyPatch, signum: int, steps: list[int]) -> None:
        whole = Trainer._step

        def step(trainer: Trainer) -> Any:
            if trainer.step + 1 in steps:
                steps.remove(trainer.step + 1)
                signal.raise_signal(signum)
            return whole(trainer)

        patch.setattr(Trainer, "_step", step)


def _outcome(run: Run) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    records = list(read_records(run.metrics))
    for record in records:
        record.pop("images_per_second", None)
    return checkpoint_path(run.checkpoints, 12).read_bytes(), run.model.read_bytes(), records


def _interrupted(start: Any, out: Path, patch: pytest.MonkeyPatch) -> Run:
    """Train with a signal at five random steps, resuming after each."""
    stops = list(STOPS)
    _SignalAt(patch, signal.SIGTERM, stops)
    with pytest.raises(Interrupted):
        start(out)
    while stops:
        with pytest.raises(Interrupted):
            resume(str(out))
    return resume(str(out))


RESIDUAL = {"depth": "2", "dropout": "1.0", "inner.kind": "cosine", "inner.num_codes": "16"}


@pytest.mark.parametrize(
    ("kind", "others"),
    [("ema", {}), ("vq", {"estimator": "rotation"}), ("gumbel", {}), ("projected", {}), ("residual", RESIDUAL)],
)
def test_a_tokenizer_stopped_at_five_random_steps_ends_bit_identical(
    kind: str, others: dict[str, str], train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {f"model__quantizer__{key}": value for key, value in {"kind": kind, **others}.items()}
    settings["training__accumulate"] = "2"
    whole = train_tokenizer(tmp_path / "whole", **settings)
    parts = _interrupted(lambda out: train_tokenizer(out, **settings), tmp_path / "parts", monkeypatch)
    assert _outcome(parts) == _outcome(whole)


def test_a_prior_with_dropout_and_shifted_views_stopped_at_five_random_steps_ends_bit_identical(
    train_prior: Any, tokenizer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_prior(tmp_path / "whole", tokenizer_run, data__crops="2")
    parts = _interrupted(
        lambda out: train_prior(out, tokenizer_run, data__crops="2"), tmp_path / "parts", monkeypatch
    )
    assert _outcome(parts) == _outcome(whole)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_and_saves(
    signum: int, code: int, train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _SignalAt(monkeypatch, signum, [7])
    with pytest.raises(Interrupted, match="saved at step 7") as raised:
        train_tokenizer(tmp_path / "run")
    assert raised.value.exit_code == code
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1] == checkpoint_path(
        tmp_path / "run" / "checkpoints", 7
    )


def test_a_resumed_run_that_is_complete_changes_nothing(tokenizer_run: Run) -> None:
    before = _outcome(tokenizer_run)
    resume(str(tokenizer_run.path))
    assert _outcome(tokenizer_run) == before


def test_only_the_newest_checkpoints_are_kept(tokenizer_run: Run) -> None:
    assert [path.name for path in checkpoints(tokenizer_run.checkpoints)] == [
        "step-00000008.safetensors",
        "step-00000012.safetensors",
    ]


def test_a_damaged_checkpoint_is_named(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run")
    path = checkpoint_path(run.checkpoints, 12)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"step-00000012\.safetensors: damaged or not"):
        resume(str(run.path))


def test_a_checkpoint_of_another_model_is_refused(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run")
    other = train_tokenizer(tmp_path / "other", model__width="24")
    path = checkpoint_path(run.checkpoints, 12)
    path.write_bytes(checkpoint_path(other.checkpoints, 12).read_bytes())
    with pytest.raises(UserError, match="a checkpoint of another model"):
        resume(str(run.path))


def test_changed_training_images_are_refused(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run")
    data = json.loads(run.data.read_text())
    data["train"]["fingerprint"] = "0" * 64
    write_json(run.data, data)
    with pytest.raises(UserError, match="not those that the run began with"):
        resume(str(run.path))


def test_an_existing_run_is_never_overwritten(tokenizer_run: Run, train_tokenizer: Any) -> None:
    before = _outcome(tokenizer_run)
    with pytest.raises(UserError, match="exists and is not overwritten: continue it with 'vqvae resume"):
        train_tokenizer(tokenizer_run.path)
    assert _outcome(tokenizer_run) == before
