"""Resume equals no interruption, bit for bit."""

import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.model_io import load_tokenizer, read_model
from vqvae.tensorfile import load_tensors
from vqvae.training import Interrupted, Run, resume
from vqvae.training.checkpoint import VERSION, checkpoint_path, checkpoints
from vqvae.training.loop import Trainer
from vqvae.training.tokenizer import TokenizerStage

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


def _outcome(run: Run) -> tuple[tuple[bytes, ...], list[dict[str, Any]]]:
    records = list(read_records(run.metrics))
    for record in records:
        record.pop("images_per_second", None)
    files = (checkpoint_path(run.checkpoints, 12), run.model, run.best)
    return tuple(path.read_bytes() for path in files), records


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


RESIDUAL = {"depth": "2", "dropout": "1.0", "inner.kind": "ema", "inner.num_codes": "16"}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("kind", "others"),
    [("ema", {}), ("vq", {"estimator": "rotation"}), ("gumbel", {}), ("projected", {}), ("residual", RESIDUAL)],
)
def test_a_tokenizer_stopped_at_five_random_steps_ends_bit_identical(
    kind: str,
    others: dict[str, str],
    optimizer: str,
    train_tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {f"model__quantizer__{key}": value for key, value in {"kind": kind, **others}.items()}
    settings |= {"training__accumulate": "2", "training__optimizer": optimizer}
    whole = train_tokenizer(tmp_path / "whole", **settings)
    parts = _interrupted(lambda out: train_tokenizer(out, **settings), tmp_path / "parts", monkeypatch)
    assert _outcome(parts) == _outcome(whole)


def test_a_tokenizer_on_a_stream_of_several_epochs_ends_bit_identical(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"data__stream": "true", "data__interleave": "4", "data__spec": "shapes:600", "data__limit": "null"}
    settings["training__batch_size"] = "64"
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


@pytest.mark.usefixtures("hangup_as_from_a_shell")
@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
        (signal.SIGUSR2, 140),
        (signal.SIGXCPU, 152),
    ],
)
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


def test_a_run_is_trained_in_a_thread(train_tokenizer: Any, tokenizer_run: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(train_tokenizer, tmp_path / "run").result()
    assert _outcome(run) == _outcome(tokenizer_run)


def test_a_signal_cuts_an_evaluation_short_and_the_resumed_run_makes_it(
    train_tokenizer: Any, tokenizer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = TokenizerStage.evaluate, list[int]()

    def evaluate(stage: TokenizerStage) -> dict[str, float]:
        calls.append(1)
        if len(calls) <= 2:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("went on after the signal")
        return whole(stage)

    monkeypatch.setattr(TokenizerStage, "evaluate", evaluate)
    with pytest.raises(Interrupted, match="saved at step 6"):
        train_tokenizer(tmp_path / "run")
    with pytest.raises(Interrupted, match="saved at step 6"):
        resume(str(tmp_path / "run"))
    assert _outcome(resume(str(tmp_path / "run"))) == _outcome(tokenizer_run)


def test_a_second_signal_does_not_break_the_save(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TokenizerStage.save

    def save(stage: TokenizerStage, path: Path, step: int, **more: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        whole(stage, path, step, **more)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(TokenizerStage, "save", save)
    _SignalAt(monkeypatch, signal.SIGTERM, [3])
    with pytest.raises(Interrupted, match="saved at step 3"):
        train_tokenizer(tmp_path / "run")
    [path] = checkpoints(tmp_path / "run" / "checkpoints")
    assert load_tensors(path, "vqvae-checkpoint", VERSION)[0]["step"] == 3


def test_a_resumed_run_that_is_complete_changes_nothing(tokenizer_run: Run) -> None:
    before = _outcome(tokenizer_run)
    resume(str(tokenizer_run.path))
    assert _outcome(tokenizer_run) == before


def test_only_the_newest_checkpoints_are_kept(tokenizer_run: Run) -> None:
    assert [path.name for path in checkpoints(tokenizer_run.checkpoints)] == [
        "step-00000008.safetensors",
        "step-00000012.safetensors",
    ]


@pytest.mark.parametrize("damage", ["cut short", "one bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(
    damage: str, train_tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train_tokenizer(tmp_path / "run")
    before = _outcome(run)
    path = checkpoint_path(run.checkpoints, 12)
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content if damage == "one bit" else content[:1000])
    resume(str(run.path))
    [warning] = caplog.messages
    assert "step-00000012.safetensors: damaged" in warning and "the checkpoint before it" in warning
    assert path.with_name(f"{path.name}.damaged").exists()
    assert _outcome(run) == before


def test_a_run_whose_checkpoints_are_all_damaged_says_so(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run", training__steps="4")
    [path] = checkpoints(run.checkpoints)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"step-00000004\.safetensors: damaged .*no other checkpoint is left"):
        resume(str(run.path))
    assert path.exists()


def test_a_checkpoint_of_another_model_is_refused(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run")
    other = train_tokenizer(tmp_path / "other", model__width="24")
    path = checkpoint_path(run.checkpoints, 12)
    path.write_bytes(checkpoint_path(other.checkpoints, 12).read_bytes())
    with pytest.raises(UserError, match="does not fit the model that config"):
        resume(str(run.path))


def test_the_best_model_is_the_one_that_measured_best(train_tokenizer: Any, tmp_path: Path) -> None:
    # a rate that does harm after a while: the last model is not the best
    run = train_tokenizer(tmp_path / "run", training__evaluate_every="1", training__learning_rate="0.1")
    measured = {r["step"]: r["nmse"] for r in read_records(run.metrics) if r["split"] == "validation"}
    card = read_model(run.best).card
    assert card.step == min(measured, key=measured.__getitem__) != 12
    assert card.validation == pytest.approx(measured[card.step], rel=1e-6)
    assert load_tokenizer(run.best).num_codes == 16


def test_what_would_not_fit_on_the_disk_is_not_begun(train_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoints need [\d,]+ MB, and its disk has [\d,]+ MB free"):
        train_tokenizer(tmp_path / "run", training__keep="1000000000000")


def test_an_existing_run_is_never_overwritten(tokenizer_run: Run, train_tokenizer: Any) -> None:
    before = _outcome(tokenizer_run)
    with pytest.raises(UserError, match="exists and is not overwritten: continue it with 'vqvae resume"):
        train_tokenizer(tokenizer_run.path)
    assert _outcome(tokenizer_run) == before


def test_a_directory_whose_owner_died_before_the_run_began_is_free(train_tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    assert train_tokenizer(tmp_path / "run", training__steps="1").model.exists()
