"""TensorBoard's events: what is read back is what was measured."""

import warnings
from pathlib import Path
from typing import Any

import pytest

from vqvae.files import read_records


def test_tensorboard_reads_the_same_values_as_the_records(train_tokenizer: Any, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train_tokenizer(tmp_path / "run", training__steps="3", training__tensorboard="true")
    events = reader.EventAccumulator(str(run.path / "tensorboard"))
    with warnings.catch_warnings(action="ignore"):  # the reader's own
        events.Reload()
    losses = [(record["step"], record["loss"]) for record in read_records(run.metrics) if "loss" in record]
    read = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert len(read) == 3 and read == [(step, pytest.approx(loss)) for step, loss in losses]
