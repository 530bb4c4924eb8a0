"""Compare all quantizers in the same network, on the same images, for the same steps, at the same bits per code.

The ``cifar10`` recipe at half its width is trained once for each quantizer and codebook size. Each run is measured
on the whole test split, and a Markdown table is printed. A run that exists is not trained again, so an interrupted
grid can be continued.

    python benchmarks/quantizer_grid.py --data CIFAR --out runs/grid [--jobs 2]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml

from vqvae.data import load
from vqvae.model_io import load_tokenizer
from vqvae.tensors import images_from_pixels

Quantizer = dict[str, Any]
REVIVAL = {"revive_every": 20, "revive_below": 0.4}
LEVELS = {512: [8, 8, 8], 8192: [8, 8, 8, 4, 4]}
SQUARE_ROOT = {512: 23, 8192: 91}  # two residual layers of so many codes: 9.05 and 13.02 bits for 9 and 13


def quantizers(k: int) -> Iterator[tuple[str, Quantizer]]:
    """Yield the name and config of each quantizer with K codes; D = 16 unless the quantizer needs another D."""
    plain = {"num_codes": k, "dim": 16}
    ema = {"kind": "ema", **plain, **REVIVAL}
    yield "ema", ema
    yield "vq", {"kind": "vq", **plain, **REVIVAL}
    yield "cosine", {"kind": "cosine", **plain, **REVIVAL}
    yield "projected", {"kind": "projected", "channels": 16, "inner": {**ema, "dim": 4}}
    yield "simvq", {"kind": "simvq", **plain}
    yield "fsq", {"kind": "fsq", "levels": LEVELS[k]}
    yield "rotation", {**ema, "estimator": "rotation"}
    yield "residual", {"kind": "residual", "depth": 2, "inner": {**ema, "num_codes": SQUARE_ROOT[k]}}
    yield "bsq", {"kind": "bsq", "bits": k.bit_length() - 1}


def recipe(quantizer: Quantizer, steps: int) -> dict[str, Any]:
    """Return the config of one training."""
    model = {"width": 64, "outer_width": 16, "residual_width": 32, "residual_blocks": 1, "factor": 4}
    training = {"steps": steps, "batch_size": 256, "learning_rate": 5e-3, "warmup": 100, "keep": 1}
    return {
        "stage": "tokenizer",
        "data": {"spec": "cifar10", "flip": True},
        "model": {**model, "quantizer": quantizer},
        "revive_until": 0.95,
        "training": {**training, "evaluate_every": steps, "checkpoint_every": steps},
    }


def train(folder: Path, name: str, quantizer: Quantizer, arguments: argparse.Namespace) -> Path:
    """Train a tokenizer unless its run exists; return the run directory."""
    run = folder / name
    if (run / "evaluation.json").exists():
        return run
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(recipe(quantizer, arguments.steps)))
    vqvae = [sys.executable, "-m", "vqvae"]
    start = ["resume", str(run)] if run.exists() else ["train", str(config), "--data", arguments.data]
    with open(folder / f"{name}.log", "a") as log:
        out = [] if run.exists() else ["--out", str(run)]
        subprocess.run([*vqvae, *start, *out], env=environment, stderr=log, check=True)
        evaluate = [*vqvae, "evaluate", str(run), "--data", arguments.data, "--json"]
        subprocess.run(evaluate, env=environment, stdout=log, stderr=log, check=True)
    return run


@torch.no_grad()
def joint(run: Path, data: str, per_level: int) -> tuple[float, float]:
    """Return perplexity and usage of the pairs of codes of a residual quantizer of two layers."""
    tokenizer, images = load_tokenizer(run), load(data, "test")
    codes = [tokenizer.encode(images_from_pixels(part)).flatten(0, 2) for part in images.pixels.split(256)]
    pairs = torch.cat(codes) @ torch.tensor([per_level, 1])
    p = torch.bincount(pairs, minlength=per_level**2).double() / len(pairs)
    return float(torch.special.entr(p).sum().exp()), float((p > 0).double().mean())


def row(run: Path, k: int, name: str, data: str) -> str:
    """Return a line of the table."""
    results = json.loads((run / "evaluation.json").read_text())["results"]
    perplexity, usage = results["perplexity"], results["usage"]
    if name == "residual":
        perplexity, usage = joint(run, data, SQUARE_ROOT[k])
    return (
        f"| {k} | {name} | {results['nmse']:.4f} | {results['psnr']:.2f} | {perplexity:.0f} "
        f"| {100 * usage:.1f} % |"
    )


def main() -> None:
    """Train the missing runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/grid"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 8192], choices=sorted(LEVELS))
    parser.add_argument("--only", nargs="+", help="names of the quantizers to train; by default, all")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=1, help="number of trainings at the same time")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    trials = [(k, *trial) for k in arguments.sizes for trial in quantizers(k)]
    trials = [trial for trial in trials if not arguments.only or trial[1] in arguments.only]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda t: train(arguments.out, f"{t[1]}-{t[0]}", t[2], arguments), trials))
    print("| K | quantizer | NMSE | PSNR, dB | perplexity | usage |")
    print("|---|---|---|---|---|---|")
    for (k, name, _), run in zip(trials, runs, strict=True):
        print(row(run, k, name, arguments.data))


if __name__ == "__main__":
    main()
