"""Run commands of vqvae on several ranks each, one after the other, in forks of one interpreter.

python command_ranks.py JOBS.json: a list of {"world", "argv"}, and perhaps "signal": [RANK, STEP], which sends
that rank SIGTERM during that step, and "dump": FOLDER, where each rank writes its model when training ends.
Prints the exit codes of each job's ranks as JSON.
"""

import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from forked import fork_ranks
from safetensors.torch import save_file

import vqvae.evaluation
from vqvae.cli import main
from vqvae.distributed import rank
from vqvae.training.loop import Trainer


def work(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    train, step = Trainer.train, Trainer._step

    def dumped(trainer: Trainer) -> None:
        try:
            train(trainer)
        finally:
            state = {name: tensor.contiguous() for name, tensor in trainer.stage.model.state_dict().items()}
            save_file(state, Path(job["dump"]) / f"{rank()}.safetensors")

    def signalled(trainer: Trainer) -> Any:
        if [rank(), trainer.step + 1] == job["signal"]:
            signal.raise_signal(signal.SIGTERM)
        return step(trainer)

    if "dump" in job:
        Path(job["dump"]).mkdir(exist_ok=True)
        Trainer.train = dumped
    if "signal" in job:
        Trainer._step = signalled
    main(job["argv"])


if __name__ == "__main__":
    assert vqvae.evaluation and torch._dynamo  # which the optimizer imports: once, before the forks
    jobs = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([fork_ranks(job["world"], partial(work, job)) for job in jobs]))
