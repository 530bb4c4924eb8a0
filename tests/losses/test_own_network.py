"""A loss with a network and an optimizer of its own is one file: here, a patch discriminator with the hinge loss.

It trains, is stopped by a signal, resumes exactly, on one process, on two ranks, and with sharded weights.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.losses import Loss, LossConfig, build_losses, mean
from vqvae.tensorfile import load_tensors
from vqvae.training import Run
from vqvae.training.checkpoint import KIND, VERSION, checkpoint_path, checkpoints


class Patches(Loss):
    """Judge patches of an image real or reconstructed, with the hinge loss (arXiv 1705.02894)."""

    learning_rate, betas = 0.5, (0.5, 0.9)

    @dataclass(frozen=True, kw_only=True)
    class Config(LossConfig):
        kind: Literal["patches"] = "patches"

        def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> "Patches":
            return Patches(image_shape[0])

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolutions = nn.Conv2d(channels, 8, 4, stride=2), nn.Conv2d(8, 1, 4, stride=2)
        self.network = nn.Sequential(convolutions[0], nn.LeakyReLU(0.2), convolutions[1])

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        return -mean(self.network(reconstruction))

    def own_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        real, fake = self.network(images), self.network(reconstruction)
        return mean(F.relu(1 - real)) + mean(F.relu(1 + fake))


SCRIPT = Path(__file__).parents[1] / "distributed" / "command_ranks.py"
# micro-batches of 5 rows: two ranks have 3 and 2 of them
RECIPE = """
data: {spec: shapes, limit: 60, flip: true}
model:
  width: 16
  outer_width: 8
  residual_width: 8
  residual_blocks: 1
  quantizer: {kind: ema, num_codes: 16, dim: 4, revive_every: 3}
losses: [{kind: patches, weight: 0.2, start: 2}]
training:
  {steps: 8, batch_size: 10, accumulate: 2, warmup: 2, log_every: 1, evaluate_every: 4, checkpoint_every: 8,
   compile: false, precision: fp32, learning_rate: 3.0e-3, clip: 0.5}
"""
SHARDED = ["--training.shard", "true"]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]], str]:
    """Return a folder of runs, the exit codes of their processes, and what the processes said."""
    folder = tmp_path_factory.mktemp("own-network")
    (folder / "recipe.yaml").write_text(RECIPE)

    def train(out: str, world: int, *flags: str, **more: Any) -> dict[str, Any]:
        argv = ["train", str(folder / "recipe.yaml"), "--out", str(folder / out), *flags]
        return {"world": world, "argv": argv, "plugin": __file__, **more}

    def resume(out: str, world: int, **more: Any) -> dict[str, Any]:
        return {"world": world, "argv": ["resume", str(folder / out)], "plugin": __file__, **more}

    jobs = [
        train("whole", 1),
        train("stopped", 1, signal=[0, 2]),  # before the discriminator starts
        resume("stopped", 1, signal=[0, 5]),
        resume("stopped", 1),
        train("ranks", 2, signal=[1, 5]),
        resume("ranks", 2, dump=str(folder / "ranks-held")),
        train("sharded", 2, *SHARDED, signal=[1, 5]),
        resume("sharded", 2, dump=str(folder / "sharded-held")),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-W", "error", SCRIPT, folder / "jobs.json"]
    environment = {**os.environ, "VQVAE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1]), done.stderr


def _records(run: Path) -> list[dict[str, Any]]:
    records = read_records(Run(run).metrics)
    return [{k: v for k, v in record.items() if k not in ("images_per_second", "split")} for record in records]


def test_signals_stop_and_save_every_run(trials: Any) -> None:
    _, codes, said = trials
    assert codes == [[0], [143], [143], [0], [143] * 2, [0] * 2, [143] * 2, [0] * 2], said
    assert said.count("stopped and saved at step 5; go on with: vqvae resume") == 3


def test_the_network_learns_from_its_start_on_with_an_optimizer_of_its_own(trials: Any) -> None:
    folder, _, _ = trials
    records = [record for record in _records(folder / "whole") if "loss" in record]
    own = {"patches", "patches_loss", "patches_gradient_norm"}
    assert [own & record.keys() for record in records] == [set()] * 2 + [own] * 6
    assert records[-1]["patches_loss"] < records[2]["patches_loss"] == pytest.approx(2.0, abs=0.2)
    for record in records[2:]:
        terms = record["reconstruction"] + record["codebook"] + 0.25 * record["commitment"]
        assert record["loss"] == pytest.approx(terms + 0.2 * record["patches"], rel=1e-5)
    header, state = load_tensors(checkpoint_path(Run(folder / "whole").checkpoints, 8), KIND, VERSION)
    assert header["step"] == 8
    steps = {key.split("/")[0]: float(t) for key, t in state.items() if "/optimizer/step/" in key}
    assert steps == {"model": 8.0, "patches": 6.0}
    start = build_losses([Patches.Config()], image_shape=(3, 32, 32))["patches"].state_dict()
    for name in ("network.0.weight", "network.2.weight"):
        assert not torch.equal(state[f"patches/weights/{name}"], start[name])
    assert not any("network" in name for name in load_file(Run(folder / "whole").model))


def test_a_stopped_run_ends_bit_identical_with_both_groups_and_both_optimizers(trials: Any) -> None:
    folder, _, _ = trials
    whole, stopped = Run(folder / "whole"), Run(folder / "stopped")
    for file in ("model.safetensors", "best.safetensors", "checkpoints/step-00000008.safetensors"):
        assert (stopped.path / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert _records(stopped.path) == _records(whole.path)


@pytest.mark.parametrize("run", ["ranks", "sharded"])
def test_two_ranks_train_as_one_process(run: str, trials: Any) -> None:
    folder, _, _ = trials
    for record, found in zip(_records(folder / "whole"), _records(folder / run), strict=True):
        assert found == pytest.approx(record, rel=1e-5, abs=1e-5)
    whole, found = (load_file(checkpoint_path(Run(folder / name).checkpoints, 8)) for name in ("whole", run))
    assert found.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    ranks = [load_file(folder / f"{run}-held" / f"{rank}.safetensors") for rank in (0, 1)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0] if not name.startswith("held."))
    assert any(name.startswith("patches.network") for name in ranks[0])


def test_each_loss_trains_its_own_parameters_and_no_others() -> None:
    loss = build_losses([Patches.Config()], image_shape=(3, 32, 32))["patches"]
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    reconstruction = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_()
    loss.term(images, reconstruction).backward()
    expected = torch.autograd.grad(loss(images, reconstruction), reconstruction)[0]
    assert torch.equal(reconstruction.grad, expected) and bool(expected.any())
    assert all(parameter.grad is None for parameter in loss.parameters())


@pytest.mark.parametrize(
    ("method", "says"), [("own_loss", "patches loss, patches gradient"), ("forward", "loss, gradient, patches")]
)
def test_a_nan_in_a_loss_is_caught_with_the_groups_name(
    method: str, says: str, train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = getattr(Patches, method), list[int]()

    def broken(*arguments: Any) -> Tensor:
        calls.append(1)
        return whole(*arguments) * (torch.nan if len(calls) == 6 else 1.0)

    monkeypatch.setattr(Patches, method, broken)
    with pytest.raises(UserError, match=f"no longer finite at step 6: {says}; the step changed nothing"):
        train_tokenizer(tmp_path / "run", losses="[{kind: patches}]")
    [kept] = checkpoints(tmp_path / "run" / "checkpoints")
    assert kept.name == "step-00000004.safetensors"


def test_a_dropped_step_changes_neither_group(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Patches.own_loss, list[int]()

    def broken(*arguments: Any) -> Tensor:
        calls.append(1)
        return whole(*arguments) * (torch.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(Patches, "own_loss", broken)
    settings = {"training__non_finite": "skip", "training__checkpoint_every": "1", "training__steps": "4"}
    run = train_tokenizer(tmp_path / "run", losses="[{kind: patches}]", training__keep="9", **settings)
    before, dropped, after = (load_file(checkpoint_path(run.checkpoints, step)) for step in (2, 3, 4))
    assert all(torch.equal(before[name], dropped[name]) for name in before)
    assert not torch.equal(before["patches/weights/network.0.weight"], after["patches/weights/network.0.weight"])


def test_a_network_without_a_loss_of_its_own_is_refused(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Patches, "own_loss")
    with pytest.raises(NotImplementedError, match="Patches has parameters, but does not define own_loss"):
        train_tokenizer(tmp_path / "run", losses="[{kind: patches}]")
