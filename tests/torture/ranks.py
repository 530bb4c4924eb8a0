"""Two ranks with a perceptual and an adversarial term, struck at random moments: the end bit-identical.

A strike is a signal to one rank, after which both save, or a kill -9 of one rank, after which the other is
ended as torchrun ends it.
"""

import os
import random
import signal
import socket
import time
from functools import partial
from pathlib import Path

from tests.losses.kinds import random_squeezenet
from tests.torture._trials import KILL, STEPS, TOKENIZER, Moments, Trial, scratch

from vqvae.files import read_records

COUNT = 50  # strikes
WORLD = 2


def check(count: int, seed: int) -> str:
    draw, kills, stops, runs = random.Random(seed), 0, 0, 0
    with scratch() as folder:
        recipe = _recipe(folder)
        begun = time.monotonic()
        assert _ends(_start(recipe, folder / "whole")) == [0, 0], _said(folder / "whole")
        moments = Moments(seed, time.monotonic() - begun)
        while kills + stops < count:
            run = folder / f"{runs}"
            ranks = _start(recipe, run)
            while kills + stops < count and moments.strike(ranks[0]):
                kill = draw.random() < 0.5
                draw.choice(ranks).signal(KILL if kill else signal.SIGTERM)
                if _ends(ranks) == [0, 0]:  # they had just ended
                    break
                kills, stops = kills + kill, stops + (not kill)
                ranks = _start(recipe, run)
            assert _ends(ranks) == [0, 0], _said(run)
            assert _outcome(run) == _outcome(folder / "whole"), f"run {runs} ended otherwise"
            runs += 1
    return (
        f"{kills} kills and {stops} signals to one of {WORLD} ranks in {runs} runs with a perceptual and an "
        f"adversarial term: {runs} of {runs} runs bit-identical to an uninterrupted one"
    )


def _recipe(folder: Path) -> Path:
    weights = random_squeezenet(folder / "squeezenet.safetensors")
    own = f"losses: [{{kind: perceptual, weight: 0.02, network: {{kind: squeezenet, weights: {weights}}}}}, "
    recipe = folder / "small.yaml"
    recipe.write_text(TOKENIZER.replace("losses: [", own).replace("size: 16", "size: 32"))
    return recipe


def _start(recipe: Path, run: Path) -> list[Trial]:
    """Start both ranks: to resume the run if it exists, else to train it."""
    argv = ["resume", str(run)] if (run / "config.yaml").exists() else ["train", str(recipe), "--out", str(run)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Trial(argv, Path(f"{run}.{rank}"), before=partial(_join, rank, port)) for rank in range(WORLD)]


def _join(rank: int, port: int) -> None:
    world = {"WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in world.items()}, MASTER_ADDR="127.0.0.1")


def _ends(ranks: list[Trial]) -> list[int]:
    """Wait for both ranks; where one fails, end the other as torchrun does: SIGTERM, and SIGKILL 30 s later."""
    deadline, told = time.monotonic() + 120, None
    while any(rank.ended() is None for rank in ranks):
        now, living = time.monotonic(), [rank for rank in ranks if rank.ended() is None]
        assert now < deadline, f"a rank has not ended: {[rank.output for rank in ranks]}"
        if told is None and any(rank.ended() for rank in ranks):
            told = now
            living[0].signal(signal.SIGTERM)
        if told is not None and now > told + 30:
            living[0].signal(KILL)
        time.sleep(0.002)
    return [rank.wait() for rank in ranks]


def _said(run: Path) -> str:
    return "\n".join(Path(f"{run}.{rank}").read_text() for rank in range(WORLD))


def _outcome(run: Path) -> list[object]:
    names = ("model", "best", f"checkpoints/step-{STEPS:08d}")
    records = read_records(run / "metrics.jsonl")
    files = [(run / f"{name}.safetensors").read_bytes() for name in names]
    return [*files, [{**record, "images_per_second": 0} for record in records]]
