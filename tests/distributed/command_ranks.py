"""Run commands of vqvae on several ranks each, one after the other, in forks of one interpreter.

python command_ranks.py JOBS.json: a list of {"world", "argv"}, and perhaps

- "signal": [RANK, STEP], which sends that rank SIGTERM during that step;
- "nan": [RANK, STEP], which breaks its gradients there;
- "exit": [RANK, STEP], which ends it between that step's forward and backward passes;
- "plugin": FILE.py, which each rank imports first;
- "dump": FOLDER, where each rank writes the whole model when training ends, and under ``held.`` how many numbers
  it holds itself.

Prints the exit codes of each job's ranks as JSON.
"""

import importlib
import json
import os
import signal
import sys
from collections import ChainMap
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from forked import fork_ranks
from safetensors.torch import save_file

import vqvae.cli.command
import vqvae.commands.evaluate
import vqvae.training.sharding
from vqvae.distributed import rank
from vqvae.training.group import Group
from vqvae.training.loop import Trainer


def held(trainer: Trainer) -> dict[str, torch.Tensor]:
    group = trainer.groups["model"]
    states = [state for optimizer in group.optimizers for state in optimizer.state.values()]
    moments = [tensor for state in states for tensor in state.values() if tensor.ndim]
    held = {
        "model": group.module.parameters(),
        "parameters": group.weights.parameters.values(),
        "average": group.weight_ema.weights.values(),
        "moments": moments,
    }
    return {
        f"held.{name}": torch.tensor(sum(tensor.numel() for tensor in tensors)) for name, tensors in held.items()
    }


def whole_state(group: Group) -> dict[str, torch.Tensor]:
    prefix = "" if group.name == "model" else f"{group.name}."
    state = group.module.state_dict() | group.weights.parameters
    return {
        f"{prefix}{name}": group.weights.whole(name, tensor).detach().contiguous()
        for name, tensor in state.items()
    }


def work(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if "plugin" in job:
        sys.path.insert(0, str(Path(job["plugin"]).parent))
        importlib.import_module(Path(job["plugin"]).stem)
    train, step = Trainer.train, Trainer._step

    def dumped(trainer: Trainer) -> None:
        try:
            train(trainer)
        finally:
            states = [whole_state(group) for group in trainer.groups.values()]
            save_file(held(trainer) | dict(ChainMap(*states)), Path(job["dump"]) / f"{rank()}.safetensors")

    def signalled(trainer: Trainer) -> Any:
        if [rank(), trainer.step + 1] == job["signal"]:
            signal.raise_signal(signal.SIGTERM)
        return step(trainer)

    def broken(trainer: Trainer) -> Any:
        stage, losses = trainer.stage, trainer.stage.losses

        def broken_losses(*batch: Any) -> Any:
            found = losses(*batch)
            if job.get("exit") == [rank(), trainer.step + 1]:
                os._exit(9)
            if job.get("nan") == [rank(), trainer.step + 1]:
                found.by_group["model"].register_hook(lambda gradient: gradient * torch.nan)
            return found

        stage.losses = broken_losses
        try:
            return step(trainer)
        finally:
            stage.losses = losses

    if "nan" in job or "exit" in job:
        Trainer._step = broken
    if "dump" in job:
        Path(job["dump"]).mkdir(exist_ok=True)
        Trainer.train = dumped
    if "signal" in job:
        Trainer._step = signalled
    vqvae.cli.main(job["argv"])


if __name__ == "__main__":
    # what an optimizer and sharding import: once, before the forks
    assert vqvae.commands.evaluate and torch._dynamo and vqvae.training.sharding
    vqvae.cli.command._RANK_0_FIRST = 0.0  # no torchrun here ends the ranks that would wait
    jobs = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([fork_ranks(job["world"], partial(work, job)) for job in jobs]))
