"""Training with sharded weights is training: the same losses, weights and files, of parts that ranks share out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vqvae.files import read_records
from vqvae.training import Run

SCRIPT = Path(__file__).parent / "command_ranks.py"
# micro-batches of 3 rows: of four ranks, one has none
TOKENIZER = """
data: {spec: shapes, limit: 48, flip: true}
model:
  width: 16
  outer_width: 8
  residual_width: 8
  residual_blocks: 1
  quantizer: {kind: vq, num_codes: 16, dim: 4, revive_every: 3}
training:
  {steps: 8, batch_size: 6, accumulate: 2, warmup: 2, log_every: 1, evaluate_every: 4, checkpoint_every: 8,
   compile: false, precision: fp32, learning_rate: 3.0e-3, clip: 0.5, non_finite: skip}
"""
PRIOR = """
data: {limit: 48}
classes: true
model: {kind: %s, width: 16, layers: 2, head_width: 24}
training:
  {steps: 4, batch_size: 6, accumulate: 2, warmup: 2, log_every: 1, evaluate_every: 4, checkpoint_every: 4,
   compile: false, precision: %s, learning_rate: 3.0e-3, clip: 0.5}
"""
PRIORS = {
    "pixelcnn": PRIOR % ("pixelcnn", "fp32"),
    "transformer": PRIOR % ("transformer", "fp32"),
    "transformer-bf16": PRIOR % ("transformer", "bf16"),
}
SHARDED = ["--training.shard", "true"]
WHOLE = ["--training.shard", "false"]


def _jobs(folder):
    """One process, and sharded on 2, sharded on 4, whole on 2, sharded on 2 ranks; each prior on one and two."""

    def resume(world, *flags, **more):
        return {"world": world, "argv": ["resume", str(folder / "changing"), *flags], **more}

    def train(out, world, *flags, **more):
        argv = ["train", str(folder / "tokenizer.yaml"), "--out", str(folder / out), *flags]
        return {"world": world, "argv": argv, **more}

    jobs = [
        train("alone", 1, *SHARDED, nan=[0, 7], dump=str(folder / "1")),  # alone, there is nothing to shard
        train("changing", 2, *SHARDED, signal=[1, 2], dump=str(folder / "first")),
        resume(4, signal=[2, 4], dump=str(folder / "second")),
        resume(2, *WHOLE, signal=[0, 6], dump=str(folder / "third")),
        resume(2, *SHARDED, nan=[1, 7], dump=str(folder / "fourth")),
        train("lost", 2, *SHARDED, exit=[1, 2]),
    ]
    for name in PRIORS:
        for world in (1, 2):
            argv = ["prior", str(folder / "alone"), str(folder / f"{name}.yaml"), *(SHARDED if world > 1 else [])]
            out = ["--out", str(folder / f"{name}-{world}")]
            jobs.append({"world": world, "argv": argv + out, "dump": str(folder / f"{name}-{world}-held")})
    return jobs


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Folder, exit codes, what was said."""
    folder = tmp_path_factory.mktemp("sharded")
    for name, recipe in {"tokenizer": TOKENIZER, **PRIORS}.items():
        (folder / f"{name}.yaml").write_text(recipe)
    (folder / "jobs.json").write_text(json.dumps(_jobs(folder)))
    command = [sys.executable, "-W", "error", SCRIPT, folder / "jobs.json"]
    environment = {**os.environ, "VQVAE_CACHE": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1]), done


def _records(run):
    skipped = ("split", "images_per_second")
    return [
        {name: value for name, value in record.items() if name not in skipped}
        for record in read_records(Run(run).metrics)
    ]


def _assert_same_run(one, other, *, tolerance=1e-5):
    records, others = _records(one), _records(other)
    assert len(records) == len(others)
    for record, found in zip(records, others, strict=True):
        assert found == pytest.approx(record, rel=tolerance, abs=tolerance)
    for file in (Run(one).model, Run(one).best):
        whole, gathered = load_file(file), load_file(Run(other).path / file.name)
        assert whole.keys() == gathered.keys()
        for name, weights in whole.items():
            torch.testing.assert_close(gathered[name], weights, rtol=10 * tolerance, atol=tolerance, msg=name)


def test_every_trial_ends_as_it_should(trials):
    _, codes, done = trials
    tokenizers = [[0], [143] * 2, [143] * 4, [143] * 2, [0] * 2, [1, 9]]
    assert codes == tokenizers + [[0], [0] * 2] * len(PRIORS), done.stderr
    for step in (2, 4, 6):
        assert done.stderr.count(f"stopped and saved at step {step}; go on with: vqvae resume") == 1
    said = [line for line in done.stderr.splitlines() if ": tokenizer, " in line]
    assert ["sharded" in line.split("steps of")[1] for line in said] == [False, True, True, False, True, True]


def test_a_rank_that_is_lost_in_a_sharded_pass_is_said_in_one_line(trials):
    _, _, done = trials
    assert done.stderr.count("vqvae: lost another rank; its own message says why:") == 1
    assert "Traceback" not in done.stderr


def test_a_gradient_that_is_not_finite_on_one_rank_drops_the_step_on_all(trials):
    folder, _, _ = trials
    for run in ("alone", "changing"):
        dropped = {record["step"]: record.get("dropped") for record in _records(folder / run) if "loss" in record}
        assert [dropped[step] for step in (6, 7, 8)] == [None, 1.0, 1.0]


def test_a_tokenizer_trains_as_in_one_process_sharded_or_not(trials):
    folder, _, _ = trials
    assert any(record.get("revived") for record in _records(folder / "alone"))
    _assert_same_run(folder / "alone", folder / "changing")


@pytest.mark.parametrize("kind", ["pixelcnn", "transformer"])
def test_a_prior_trains_as_in_one_process(trials, kind):
    folder, _, _ = trials
    _assert_same_run(folder / f"{kind}-1", folder / f"{kind}-2")


def test_bf16_is_the_same_autocast(trials):
    folder, _, _ = trials
    _assert_same_run(folder / "transformer-bf16-1", folder / "transformer-bf16-2", tolerance=1e-2)


@pytest.mark.parametrize(("stop", "world"), [("first", 2), ("second", 4), ("third", 2), ("fourth", 2)])
def test_all_ranks_end_with_the_same_bits(trials, stop, world):
    folder, _, _ = trials
    first, *others = (load_file(folder / stop / f"{rank}.safetensors") for rank in range(world))
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first if not name.startswith("held."))


def test_checkpoints_have_one_format_sharded_or_not(trials):
    folder, _, _ = trials
    for one, other in (("alone", "changing"), ("pixelcnn-1", "pixelcnn-2"), ("transformer-1", "transformer-2")):
        whole, gathered = (
            load_file(sorted(Run(folder / run).checkpoints.glob("*.safetensors"))[-1]) for run in (one, other)
        )
        assert whole.keys() == gathered.keys()
        for name, tensor in whole.items():
            assert gathered[name].dtype == tensor.dtype
            torch.testing.assert_close(gathered[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("alone", "trial", "world"),
    [
        ("1", "second", 4),
        ("pixelcnn-1-held", "pixelcnn-2-held", 2),
        ("transformer-1-held", "transformer-2-held", 2),
    ],
)
def test_each_rank_holds_its_part_and_no_more(trials, alone, trial, world):
    folder, _, _ = trials
    whole = load_file(folder / alone / "0.safetensors")
    ranks = [load_file(folder / trial / f"{rank}.safetensors") for rank in range(world)]
    quantizer = sum(t.numel() for name, t in whole.items() if name == "quantizer.codebook")
    for what, copies in {"parameters": 1, "average": 1, "moments": 2}.items():
        total, kept = int(whole[f"held.{what}"]), copies * quantizer
        parts = [int(held[f"held.{what}"]) - kept for held in ranks]
        assert sum(parts) == total - kept
        assert max(parts) < 1.2 * (total - kept) / world  # rows do not divide evenly in layers this small
    for held in ranks:
        assert int(held["held.model"]) == quantizer
