"""Training does not depend on the number of ranks, and resumes when it changes: through the real commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vqvae.data.shapes import draw
from vqvae.files import read_records
from vqvae.training import Run

SCRIPT = Path(__file__).parent / "command_ranks.py"
RECIPE = """
data: DATA
model:
  width: 16
  outer_width: 8
  residual_width: 8
  residual_blocks: 1
  quantizer: {kind: ema, num_codes: 16, dim: 4, revive_every: 3}
training:
  {steps: 8, batch_size: 18, accumulate: 2, warmup: 2, log_every: 1, evaluate_every: 8, checkpoint_every: 8,
   compile: false, precision: fp32, learning_rate: 3.0e-3, optimizer: OPTIMIZER}
"""


# gradients are summed in another order, and Muon makes singular values near 0 up to 485 times as large: with
# seed 0, rounding then decides a ReLU
ROUNDING = 3e-5
CASES = {
    "memory": ("{spec: shapes, limit: 96, flip: true}", "adamw"),
    "stream": ("{spec: shapes, limit: 600, flip: true, stream: true, interleave: 3}", "muon, seed: 1"),
}


@pytest.fixture(scope="module", params=CASES)
def trials(request, tmp_path_factory):
    """One process, and 2 -> 4 -> 1 ranks stopped by a signal at one of them: folder, exit codes, what was said."""
    folder = tmp_path_factory.mktemp("trials")
    data, optimizer = CASES[request.param]
    (folder / "small.yaml").write_text(RECIPE.replace("DATA", data).replace("OPTIMIZER", optimizer))

    def train(out, world, **more):
        argv = ["train", str(folder / "small.yaml"), "--out", str(folder / out)]
        return {"world": world, "argv": argv, **more}

    def resume(world, **more):
        return {"world": world, "argv": ["resume", str(folder / "changing")], **more}

    jobs = [
        train("alone", 1, dump=str(folder / "1")),
        train("changing", 2, signal=[1, 3], dump=str(folder / "first")),
        resume(4, signal=[2, 6], dump=str(folder / "second")),
        resume(1, dump=str(folder / "third")),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, SCRIPT, folder / "jobs.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1]), done


def _records(run):
    return [
        {name: value for name, value in record.items() if name not in ("split", "images_per_second")}
        for record in read_records(Run(run).metrics)
    ]


def test_any_number_of_ranks_logs_the_losses_of_one_process(trials):
    folder, _, _ = trials
    alone, others = _records(folder / "alone"), _records(folder / "changing")
    assert any(record.get("revived") for record in alone)
    assert len(others) == len(alone)
    for one, other in zip(alone, others, strict=True):
        assert other == pytest.approx(one, rel=ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize(("stop", "world"), [("first", 2), ("second", 4)])
def test_all_ranks_end_with_the_same_bits(trials, stop, world):
    folder, _, _ = trials
    first, *others = (load_file(folder / stop / f"{rank}.safetensors") for rank in range(world))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


def test_two_then_four_then_one_rank_end_with_the_weights_of_one(trials):
    folder, _, _ = trials
    alone, other = (load_file(folder / name / "0.safetensors") for name in ("1", "third"))
    for name, weights in alone.items():
        torch.testing.assert_close(other[name], weights, rtol=10 * ROUNDING, atol=ROUNDING, msg=name)


def test_a_signal_at_one_rank_stops_all_after_its_step(trials):
    folder, codes, done = trials
    assert codes == [[0], [143] * 2, [143] * 4, [0]]
    for step in (3, 6):
        assert done.stderr.count(f"stopped and saved at step {step}; go on with: vqvae resume") == 1
    assert done.stdout.count(f"done: {folder / 'changing'};") == 1


def _torchrun(*argv):
    port_of_its_own = ["--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    command = [sys.executable, "-m", "torch.distributed.run", *port_of_its_own, "-m", "vqvae", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_torchrun_trains_a_prior(tokenizer_run, recipes, tmp_path):
    out = tmp_path / "prior"
    done = _torchrun("prior", str(tokenizer_run.path), recipes["prior"], "--out", str(out), "--steps", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [r["step"] for r in read_records(Run(out).metrics) if r["split"] == "train"] == [1, 2, 3, 4]
    assert json.loads(Run(out).environment.read_text())["ranks"] == 2


def test_torchrun_says_a_mistake_once(tmp_path):
    done = _torchrun("train", "shapes", "--trainig.steps", "4", "--out", str(tmp_path / "run"))
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("vqvae: ")] == [
        "vqvae: unknown option --trainig.steps; did you mean --training.steps?"
    ]


def test_muon_refuses_sharded_weights_once_and_writes_nothing(tmp_path):
    settings = ["--training.optimizer", "muon", "--training.shard", "true"]
    done = _torchrun("train", "shapes", *settings, "--out", str(tmp_path / "run"))
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert [line for line in done.stderr.splitlines() if line.startswith("vqvae: ")] == [
        "vqvae: training.shard: the optimizer muon needs whole weights: set training.optimizer adamw"
    ]


def test_each_rank_names_the_bad_images_of_its_own_lanes(tmp_path, recipes):
    for row, pixels in enumerate(draw(torch.arange(600), split="train").permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(tmp_path / f"{row:03d}.png")
    bad = [f"{row:03d}.png" for row in (17, 300, 530)]
    for name in bad:
        (tmp_path / name).write_bytes(b"no image")
    data = ["--data", str(tmp_path), "--data.stream", "true", "--data.interleave", "2", "--data.limit", "null"]
    passage = ["--training.batch_size", "60", "--steps", "11"]
    done = _torchrun("train", recipes["tokenizer"], *data, *passage, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr[-3000:]
    said = {line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("skipped ")}
    assert said == {f"skipped {name}" for name in bad}
