"""A training with a perceptual and an adversarial term resumes exactly, on one process, two ranks and sharded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.losses.kinds import random_squeezenet

from vqvae.files import read_records
from vqvae.training import Run
from vqvae.training.checkpoint import checkpoint_path

SCRIPT = Path(__file__).parents[1] / "distributed" / "command_ranks.py"
# micro-batches of 5 rows: two ranks have 3 and 2 of them
RECIPE = """
data: {{spec: shapes, limit: 60, flip: true}}
model:
  width: 16
  outer_width: 8
  residual_width: 8
  residual_blocks: 1
  quantizer: {{kind: ema, num_codes: 16, dim: 4, revive_every: 3}}
losses:
- {{kind: perceptual, weight: 0.02, network: {{kind: squeezenet, weights: {weights}}}}}
- {{kind: adversarial, weight: 0.2, start: 2, width: 8, lecam: 0.1}}
training:
  {{steps: 6, batch_size: 10, accumulate: 2, warmup: 2, log_every: 1, evaluate_every: 3, checkpoint_every: 6,
   compile: false, precision: fp32, learning_rate: 3.0e-3, clip: 0.5}}
"""


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]], str]:
    """Return a folder of runs, the exit codes of their processes, and what the processes said."""
    folder = tmp_path_factory.mktemp("both-terms")
    (folder / "recipe.yaml").write_text(
        RECIPE.format(weights=random_squeezenet(folder / "squeezenet.safetensors"))
    )

    def train(out: str, world: int, *flags: str, **more: Any) -> dict[str, Any]:
        argv = ["train", str(folder / "recipe.yaml"), "--out", str(folder / out), *flags]
        return {"world": world, "argv": argv, **more}

    def resume(out: str, world: int, **more: Any) -> dict[str, Any]:
        return {"world": world, "argv": ["resume", str(folder / out)], **more}

    jobs = [
        train("whole", 1),
        train("stopped", 1, signal=[0, 4]),
        resume("stopped", 1),
        train("ranks", 2, signal=[1, 4]),
        resume("ranks", 2, dump=str(folder / "ranks-held")),
        train("sharded", 2, "--training.shard", "true", signal=[1, 4]),
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
    assert codes == [[0], [143], [0], [143] * 2, [0] * 2, [143] * 2, [0] * 2], said
    assert said.count("stopped and saved at step 4; go on with: vqvae resume") == 3


def test_a_stopped_run_ends_bit_identical_with_both_terms(trials: Any) -> None:
    folder, _, _ = trials
    whole, stopped = Run(folder / "whole"), Run(folder / "stopped")
    for file in ("model.safetensors", "best.safetensors", "checkpoints/step-00000006.safetensors"):
        assert (stopped.path / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert _records(stopped.path) == _records(whole.path)
    last = _records(whole.path)[-2]
    assert {"perceptual", "adversarial", "adversarial_factor", "adversarial_accuracy"} <= last.keys()


@pytest.mark.parametrize("run", ["ranks", "sharded"])
def test_two_ranks_train_as_one_process_with_both_terms(run: str, trials: Any) -> None:
    folder, _, _ = trials
    for record, found in zip(_records(folder / "whole"), _records(folder / run), strict=True):
        assert found == pytest.approx(record, rel=2e-3, abs=1e-4)
    whole, found = (load_file(checkpoint_path(Run(folder / name).checkpoints, 6)) for name in ("whole", run))
    assert found.keys() == whole.keys()
    for name, tensor in whole.items():
        # the first steps of AdamW enlarge the rounding of gradients that are almost 0
        torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=2e-3, msg=name)
    ranks = [load_file(folder / f"{run}-held" / f"{rank}.safetensors") for rank in (0, 1)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0] if not name.startswith("held."))
    assert "adversarial.real_average" in ranks[0] and bool(ranks[0]["adversarial.real_average"])
