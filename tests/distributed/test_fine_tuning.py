"""A start from a trained model on two ranks, whole and sharded, is that of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vqvae.files import read_records
from vqvae.model_io import read_model
from vqvae.training import Run

SCRIPT = Path(__file__).parent / "command_ranks.py"
ADVERSARIAL = "[{kind: adversarial, weight: 0.2, width: 8}]"
STARTS = {
    "decoder": ["--freeze", "encoder,quantizer", "--losses", ADVERSARIAL],
    "grown": ["--model.quantizer.num_codes", "24"],
}
WORLDS = {"alone": [], "two": [], "sharded": ["--training.shard", "true"]}


@pytest.fixture(scope="module")
def trials(tokenizer_run, recipes, tmp_path_factory):
    """Each start in one process, on two ranks and on two ranks that shard."""
    folder = tmp_path_factory.mktemp("trials")

    def train(start, world):
        flags = [*STARTS[start], *WORLDS[world], "--out", str(folder / f"{start}-{world}"), "--steps", "5"]
        argv = ["train", recipes["tokenizer"], "--init", str(tokenizer_run.path), *flags]
        return {"world": 1 if world == "alone" else 2, "argv": [*argv, "--training.weight_decay", "0.1"]}

    jobs = [train(start, world) for start in STARTS for world in WORLDS]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, SCRIPT, folder / "jobs.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[0] * job["world"] for job in jobs], done.stderr[-3000:]
    return folder


def _records(path):
    return [
        {name: value for name, value in record.items() if name not in ("split", "images_per_second")}
        for record in read_records(Run(path).metrics)
    ]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("world", ["two", "sharded"])
def test_two_ranks_train_as_one_process_does(trials, start, world):
    alone, both = _records(trials / f"{start}-alone"), _records(trials / f"{start}-{world}")
    assert len(alone) == len(both) > 5
    for one, other in zip(alone, both, strict=True):
        assert other == pytest.approx(one, rel=2e-3, abs=1e-5)
    one, other = (read_model(trials / f"{start}-{name}").state for name in ("alone", world))
    torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_frozen_is_bit_identical_on_any_number_of_ranks(trials, tokenizer_run, world):
    old, new = read_model(tokenizer_run.path), read_model(trials / f"decoder-{world}")
    frozen = [name for name in old.state if name.startswith(("encoder.", "quantizer."))]
    assert frozen and all(torch.equal(old.state[name], new.state[name]) for name in frozen)
    assert new.card.identity == old.card.identity
