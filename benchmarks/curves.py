"""Draw the curves of several runs in one picture: tokenizers on the left, priors on the right.

A line is an average over training batches, a dot a measurement on validation images. For a tokenizer it is the
NMSE, for a prior bits per code, over the number of images that were trained on.

    python benchmarks/curves.py runs/cifar10 runs/cifar10-256 runs/cifar10-transformer --out curves.png
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vqvae.config import RunConfig
from vqvae.files import read_records
from vqvae.report.curves import series
from vqvae.report.plots import smooth
from vqvae.training.run import Run

# by stage: the metric of training batches, that of validation images, the label and the scale of the axes
METRICS = {
    "tokenizer": ("reconstruction", "nmse", "NMSE", "log"),
    "prior": ("bits_per_code_prior", "bits_per_code_prior", "bits per code", "linear"),
}


def draw(axes: Axes, name: str, config: RunConfig, records: list[dict[str, Any]], ink: str) -> None:
    """Draw a run into the plot of its stage."""
    trained, measured, label, scale = METRICS[config.stage]
    for split, metric, style in (("train", trained, "-"), ("validation", measured, "o")):
        steps, values = series(records, split, metric)
        images = [step * config.training.batch_size for step in steps]
        shown = smooth(values) if split == "train" else values
        axes.plot(images, shown, style, color=ink, markersize=4, label=name if split == "train" else None)
    axes.set(xlabel="images trained on", ylabel=label, xscale=scale, yscale=scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    figure, plots = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    by_stage = dict(zip(METRICS, plots, strict=True))
    drawn = dict.fromkeys(METRICS, 0)  # runs of each stage: a plot has a colour for each of its runs
    for path in arguments.runs:
        run = Run(path).check()
        config = run.read_config()
        draw(by_stage[config.stage], path.name, config, read_records(run.metrics), f"C{drawn[config.stage]}")
        drawn[config.stage] += 1
    for axes in plots:
        axes.legend()
    figure.savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
