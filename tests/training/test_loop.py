"""Laws of the loop: its schedule, its average, its micro-batches, and when it stops."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vqvae.config import TrainingConfig
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.training.engine import Engine, bf16_is_faster, choose_device
from vqvae.training.loop import learning_rate
from vqvae.training.run import Run
from vqvae.training.weight_ema import WeightEMA


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    config = TrainingConfig(steps=101, warmup=10, learning_rate=2.0, final_rate=0.1)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[:11] == pytest.approx([2.0 * (step + 1) / 11 for step in range(11)])
    assert rates[100] == pytest.approx(0.2)
    for step in range(10, 101):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - 10) / 90))
        assert rates[step] == pytest.approx(2.0 * (0.1 + 0.9 * cosine))


def test_the_average_is_the_moving_average_of_its_definition() -> None:
    model = nn.Linear(3, 2)
    average = WeightEMA(dict(model.named_parameters()), 0.9)
    expected = model.weight.detach().double().clone()
    for step in range(200):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(average.weights["weight"].double(), expected, rtol=1e-4, atol=1e-5)


def test_the_average_in_place_gives_the_weights_back() -> None:
    model = nn.Linear(3, 2)
    average = WeightEMA(dict(model.named_parameters()), 0.5)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(100)
    own, averaged = model.weight.detach().clone(), average.weights["weight"].clone()
    with average.in_place():
        assert torch.equal(model.weight, averaged)
    assert torch.equal(model.weight, own) and torch.equal(average.weights["weight"], averaged)


def test_micro_batches_train_as_one_batch(train_prior: Any, tokenizer_run: Run, tmp_path: Path) -> None:
    settings = {"training__steps": "4", "model__dropout": "0.0"}
    whole = train_prior(tmp_path / "whole", tokenizer_run, **settings)
    parts = train_prior(tmp_path / "parts", tokenizer_run, training__accumulate="4", **settings)
    for one, other in zip(read_records(whole.metrics), read_records(parts.metrics), strict=True):
        for name in {"loss", "gradient_norm", "bits_per_code_prior"} & one.keys():
            assert other[name] == pytest.approx(one[name], rel=1e-4)


def test_batches_that_do_not_split_are_refused(train_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch_size 16 is not a multiple of training\.accumulate 3"):
        train_tokenizer(tmp_path / "run", training__accumulate="3")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_before_a_checkpoint(train_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no longer finite"):
        train_tokenizer(tmp_path / "run", training__learning_rate="1e30", training__clip="0", training__steps="40")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        from safetensors.torch import load_file

        assert all(bool(t.isfinite().all()) for t in load_file(path).values())


def test_training_reduces_the_loss_and_logs_each_term(tokenizer_run: Run) -> None:
    records = [record for record in read_records(tokenizer_run.metrics) if record["split"] == "train"]
    assert [record["step"] for record in records] == list(range(1, 13))
    assert {"loss", "reconstruction", "codebook", "commitment", "gradient_norm"} <= records[0].keys()
    assert records[-1]["loss"] < records[0]["loss"]


def test_overfitting_is_measured_at_every_evaluation(prior_run: Run) -> None:
    records = [record for record in read_records(prior_run.metrics) if record["split"] == "validation"]
    assert [record["step"] for record in records] == [6, 12]
    for record in records:
        gap = record["bits_per_code_prior"] - record["bits_per_code_prior_train"]
        assert record["overfit_bits"] == pytest.approx(gap, abs=1e-5)


def test_compiled_and_uncompiled_training_agree(train_tokenizer: Any, tmp_path: Path) -> None:
    settings = {"training__steps": "2", "training__log_every": "1"}
    plain = list(read_records(train_tokenizer(tmp_path / "plain", **settings).metrics))
    compiled = list(read_records(train_tokenizer(tmp_path / "fast", training__compile="true", **settings).metrics))
    for one, other in zip(plain, compiled, strict=True):
        assert other.get("loss", 0.0) == pytest.approx(one.get("loss", 0.0), rel=1e-3)


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    network = nn.Linear(2, 1)
    engine = Engine(torch.device("cpu"), bf16=False, compiled=True)
    assert engine.compile(network, torch.ones(2)) is network
    assert "run uncompiled" in caplog.text


@pytest.mark.parametrize("faster", [True, False])
def test_bf16_where_it_is_slower_is_said(
    faster: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqvae.training.engine.bf16_is_faster", lambda _: faster)
    assert [Engine.of(TrainingConfig(device="cpu", precision=p)).bf16 for p in ("bf16", "auto", "fp32")] == [
        True, faster, False,
    ]  # fmt: skip
    assert caplog.text.count("bf16 is slower than fp32") == (not faster)


@pytest.mark.parametrize("slower", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("begins", range(0, 24, 4))
def test_other_work_for_a_while_does_not_decide_the_precision(
    begins: int, slower: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, convolutions = 0, 0

    def convolution(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        nonlocal clock, convolutions
        busy = begins <= convolutions < begins + 8
        clock, convolutions = clock + (2 if x.dtype is slower else 1) * (5 if busy else 1), convolutions + 1
        return x[0, 0]

    monkeypatch.setattr("torch.conv2d", convolution)
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    assert bf16_is_faster(torch.device("cpu")) == (slower is torch.float32)


def test_an_absent_device_is_named() -> None:
    with pytest.raises(UserError, match="device cuda:9: no such device here"):
        choose_device("cuda:9")
    with pytest.raises(UserError, match="device gpu"):
        choose_device("gpu")
