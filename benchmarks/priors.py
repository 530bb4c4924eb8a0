"""Compare PixelCNN and transformer on the same codes at equal training time, and with the unigram baselines.

For each recipe, a short training measures the images per second, which gives the number of steps for the training
time. The prior is then trained for this number of steps. The table has bits per code on validation images, at the
end and at the best measurement, and on training images, measured in the same way. The picture has the curves.

    python benchmarks/priors.py TOKENIZER_RUN --data CIFAR --out runs/priors [--minutes 10]
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from vqvae.files import read_records

RECIPES = ("cifar10-prior", "cifar10-transformer")
EVALUATIONS = 10
Records = list[dict[str, Any]]


def train(arguments: argparse.Namespace, recipe: str, name: str, steps: int, *, evaluate_every: int) -> Records:
    """Train or resume a prior with the command line; return its metrics."""
    run = arguments.out / name
    command = [sys.executable, "-m", "vqvae"]
    if run.exists():
        command += ["resume", str(run)]
    else:
        command += ["prior", arguments.tokenizer, recipe, "--data", arguments.data, "--out", str(run)]
        command += ["--training.steps", str(steps), "--training.evaluate_every", str(evaluate_every)]
        command += ["--training.log_every", "10", "--training.compile", str(arguments.compile).lower()]
        command += ["--training.warmup", str(min(100, steps // 5))]
    subprocess.run(command, check=True)
    return read_records(run / "metrics.jsonl")


def images_per_second(records: Records) -> float:
    return statistics.median(record["images_per_second"] for record in records if "images_per_second" in record)


def draw(curves: dict[str, Records], path: Path) -> None:
    """Plot bits per code over minutes of training."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for ink, (name, records) in zip(("#2b6cb1", "#d4551c"), curves.items(), strict=True):
        validation = [record for record in records if record["split"] == "validation"]
        minutes = [record["step"] * 128 / images_per_second(records) / 60 for record in validation]
        axes.plot(
            minutes, [r["bits_per_code_prior"] for r in validation], color=ink, label=f"{name}, validation images"
        )
        bits = [r["bits_per_code_prior_train"] for r in validation]
        axes.plot(minutes, bits, color=ink, linestyle=":", label=f"{name}, training images")
    for name, style in (("unigram", "--"), ("position_unigram", "-.")):
        axes.axhline(validation[-1][f"bits_per_code_{name}"], color="#8a8f99", linestyle=style, label=name)
    axes.set(xlabel="minutes of training", ylabel="bits per code")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", help="a tokenizer's run")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/priors"))
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of training for each prior")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    curves: dict[str, Records] = {}
    print(
        "| prior | steps | images/s | validation | best validation | training images |\n|---|---|---|---|---|---|"
    )
    for recipe in RECIPES:
        trial = train(arguments, recipe, f"{recipe}-trial", 30, evaluate_every=30)
        steps = round(60 * arguments.minutes * images_per_second(trial) / 128)
        records = train(arguments, recipe, recipe, steps, evaluate_every=max(1, steps // EVALUATIONS))
        validation = [record for record in records if record["split"] == "validation"]
        best = min(record["bits_per_code_prior"] for record in validation)
        last, on_train = (validation[-1][f"bits_per_code_prior{images}"] for images in ("", "_train"))
        speed = images_per_second(records)
        print(f"| {recipe} | {steps} | {speed:.0f} | {last:.3f} | {best:.3f} | {on_train:.3f} |", flush=True)
        curves[recipe] = records
    for name in ("bits_per_code_unigram", "bits_per_code_position_unigram"):
        print(f"{name}: {validation[-1][name]:.3f}")
    draw(curves, arguments.out / "curves.png")


if __name__ == "__main__":
    main()
