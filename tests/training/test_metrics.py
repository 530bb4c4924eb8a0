"""Trackers show what was measured, with pictures and histograms, and never end a run that has begun."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.training import Run, resume, trackers
from vqvae.training.trackers import check_trackers


def _losses(run: Run) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in read_records(run.metrics) if "loss" in record]


def test_tensorboard_reads_the_same_values_as_the_records(train_tokenizer: Any, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train_tokenizer(tmp_path / "run", training__steps="3", training__tracker="tensorboard")
    events = reader.EventAccumulator(str(run.path / "tensorboard"))
    with warnings.catch_warnings(action="ignore"):  # the reader's own
        events.Reload()
    losses = _losses(run)
    read = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert len(read) == 3 and read == [(step, pytest.approx(loss)) for step, loss in losses]
    [picture] = events.Images("reconstructions")
    assert picture.encoded_image_string[:4] == b"\x89PNG" and picture.step == 3
    [histogram] = events.Histograms("codes")
    assert sum(histogram.histogram_value.bucket) == histogram.histogram_value.num > 0
    assert {"codes", "squared_error"} <= set(events.Tags()["histograms"])


def test_a_priors_samples_and_bits_are_tracked(train_prior: Any, tokenizer_run: Run, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train_prior(tmp_path / "run", tokenizer_run, training__steps="2", training__tracker="tensorboard")
    events = reader.EventAccumulator(str(run.path / "tensorboard"))
    with warnings.catch_warnings(action="ignore"):
        events.Reload()
    [bits] = events.Histograms("bits_per_code")
    measured = [record for record in read_records(run.metrics) if record["split"] == "validation"][-1]
    value = bits.histogram_value
    assert value.sum / value.num == pytest.approx(measured["bits_per_code_prior"], rel=1e-4)
    assert events.Tags()["images"] == ["samples"]


def test_a_missing_package_is_named_with_its_extra_before_anything_is_written(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for name in ("tensorboard", "trackio", "wandb"):
        with pytest.raises(UserError) as error:
            train_tokenizer(tmp_path / "run", training__tracker=name)
        said = f"--training.tracker {name} needs an extra: pip install 'vqvae-toolkit[{name}]'"
        assert str(error.value) == said
    assert not (tmp_path / "run").exists()
    check_trackers(())


def test_an_unknown_tracker_is_answered_with_the_known_ones(train_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tensorboard"):
        train_tokenizer(tmp_path / "run", training__tracker="tensorbord")


def _needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the package {package}: pip install 'vqvae-toolkit[{package}]'")


def _train(recipes: dict[str, str], out: Path, tracker: str, **environment: str) -> Run:
    """Train in a process of its own, as trackers keep threads and processes."""
    words = ["train", recipes["tokenizer"], "--out", str(out), "--steps", "3", "--training.tracker", tracker]
    done = subprocess.run(
        [sys.executable, "-m", "vqvae", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return Run(out)


def test_wandb_keeps_everything_offline_and_a_resumed_run_goes_on_in_its_run(
    recipes: dict[str, str], tmp_path: Path
) -> None:
    _needs("wandb")
    run = _train(recipes, tmp_path / "run", "wandb", WANDB_MODE="offline")
    [folder] = (run.path / "wandb").glob("offline-run-*")
    name = json.loads(run.trackers.read_text())["wandb"]
    assert folder.name.endswith(name) and (folder / f"run-{name}.wandb").stat().st_size > 0
    kinds = {path.parent.name: path.suffix for path in (folder / "files" / "media").rglob("*.png")}
    assert kinds == {"images": ".png"}
    content = (folder / f"run-{name}.wandb").read_bytes()
    for logged in (b"train/loss", b"validation/nmse", b"squared_error", b"histogram"):
        assert logged in content, logged


def test_trackio_keeps_everything_on_this_machine(recipes: dict[str, str], tmp_path: Path) -> None:
    _needs("trackio")
    folder = tmp_path / "trackio"
    run = _train(recipes, tmp_path / "run", "trackio", TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1")
    with closing(sqlite3.connect(folder / "vqvae.db")) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert {name for name, _, _ in rows} == {f"run-{json.loads(run.trackers.read_text())['trackio']}"}
    logged = [(step, json.loads(metrics)) for _, step, metrics in rows]
    losses = sorted((step, values["train/loss"]) for step, values in logged if "train/loss" in values)
    assert losses == [(step, pytest.approx(loss)) for step, loss in _losses(run)]
    assert {"validation/nmse", "codes", "reconstructions"} <= {name for _, values in logged for name in values}
    assert list(folder.rglob("*.png"))


def test_a_tracker_can_be_added_when_a_run_is_resumed(train_tokenizer: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = train_tokenizer(tmp_path / "run", training__steps="2")
    resume(str(run.path), {"training.steps": 4, "training.tracker": "tensorboard"})
    assert list((run.path / "tensorboard").iterdir())
    assert run.read_config().training.tracker == ("tensorboard",)
