"""Which plots a run has data for, chosen from its metric lines; ``plots`` draws them."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple


class Curve(NamedTuple):
    """One line of a panel: ``values`` at ``steps``, drawn faint with a smooth line over it where ``noisy``."""

    label: str
    ink: str
    noisy: bool
    steps: list[float]
    values: list[float]


class Panel(NamedTuple):
    """One small plot: its words and its curves.

    Attributes:
        key: its name.
        title: what it shows.
        note: how to read it.
        size: ``wide``, ``half`` or ``quarter`` of the page.
        may_be_log: whether values that span a factor of 10 are drawn on a logarithmic scale.
        curves: the lines.
        last_step: of the run.
        levels: lines across, each with its words.
        best: a marked (step, value).
    """

    key: str
    title: str
    note: str
    size: str
    may_be_log: bool
    curves: list[Curve]
    last_step: float
    levels: tuple[tuple[str, float], ...] = ()
    best: tuple[float, float] | None = None


# key, title, note, size, may it be logarithmic?, curves of (split, metric, label, ink, noisy)
_PANELS = (
    ("bits", "Bits a code", "lower is better; the gap between the lines is overfitting", "wide", False, (
        ("train", "bits_per_code", "training batches", "quiet", True),
        ("validation", "train_bits_per_code", "training rows", "train", False),
        ("validation", "bits_per_code", "held out", "validation", False))),
    ("loss", "Loss", "the objective, lower is better", "half", True, (
        ("train", "loss", "train", "train", True), ("validation", "loss", "held out", "validation", False))),
    ("reconstruction", "Reconstruction loss", "lower is better", "half", True, (
        ("train", "reconstruction", "train", "train", True),
        ("validation", "reconstruction", "held out", "validation", False))),
    ("nmse", "NMSE", "squared error over pixel variance, lower is better", "half", True, (
        ("train", "nmse", "train", "train", True), ("validation", "nmse", "held out", "validation", False))),
    ("psnr", "PSNR", "dB, higher is better", "half", False, (
        ("train", "psnr", "train", "train", True), ("validation", "psnr", "held out", "validation", False))),
    ("perplexity", "Perplexity", "codes in even use, higher is better", "half", False, (
        ("train", "perplexity", "train", "train", True),
        ("validation", "perplexity", "held out", "validation", False))),
    ("usage", "Usage", "share of codes used, higher is better", "half", False, (
        ("train", "usage", "train", "train", True), ("validation", "usage", "held out", "validation", False))),
    ("levels", "Usage by level", "of several codes a position", "half", False, (
        ("validation", "usage_1", "first", "train", False),
        ("validation", "usage_2", "second", "validation", False),
        *(("validation", f"usage_{i}", "later", "quiet", False) for i in range(3, 17)))),
    ("error", "Quantization error", "of z_e, over its variance, lower is better", "half", True, (
        ("validation", "quantization_error", "held out", "validation", False),)),
    ("gradients", "Gradients of the three terms", "held-out norms; commitment times beta", "half", True, (
        ("validation", "gradient_reconstruction", "reconstruction", "train", False),
        ("validation", "gradient_commitment", "commitment", "validation", False),
        ("validation", "gradient_codebook", "codebook", "quiet", False))),
    ("codebook", "Codebook", "losses, unweighted", "quarter", True, (
        ("train", "codebook", "codebook", "quiet", True), ("train", "commitment", "commitment", "train", True))),
    ("rate", "Learning rate", "", "quarter", False, (("train", "learning_rate", "train", "train", False),)),
    ("gradient", "Gradient norm", "", "quarter", True, (("train", "gradient_norm", "train", "train", True),)),
    ("speed", "Speed", "images a second", "quarter", False, (
        ("train", "images_per_second", "train", "train", True),)),
)  # fmt: skip


def series(lines: Iterable[Mapping[str, Any]], split: str, metric: str) -> tuple[list[float], list[float]]:
    """Pick one metric's steps and finite values from metric lines, in the order of steps.

    A step logged twice counts once, the later line: a resumed run repeats the steps after its checkpoint.
    """
    found = {
        line["step"]: float(line[metric])
        for line in lines
        if line.get("split") == split and isinstance(line.get(metric), int | float) and isfinite(line[metric])
    }
    steps = sorted(found)
    return [float(step) for step in steps], [found[step] for step in steps]


def panels(lines: Sequence[Mapping[str, Any]], *, uniform_bits: float | None = None) -> list[Panel]:
    """Choose the plots that a run's metric lines have data for.

    Args:
        lines: the parsed lines of ``metrics.jsonl``, each with ``step`` and ``split``.
        uniform_bits: log2 K, drawn as a level beside the held-out bits a code, with the floors in the lines.
    """
    chosen: list[Panel] = []
    last_step = max((line["step"] for line in lines), default=0)
    for key, title, note, size, may_be_log, wanted in _PANELS:
        curves = [Curve(label, ink, noisy, *series(lines, *which)) for *which, label, ink, noisy in wanted]
        curves = [curve for curve in curves if any(curve.values)]  # a loss that is 0 throughout says nothing
        if not curves:
            continue
        panel = Panel(key, title, note, size, may_be_log, curves, last_step)
        held_out = [curve for curve in curves if curve.ink == "validation"]
        if key == "bits" and held_out:
            best = min(zip(held_out[0].steps, held_out[0].values, strict=True), key=lambda at: at[1])
            panel = panel._replace(levels=_levels(lines, uniform_bits), best=best)
        if key == "loss" and chosen:  # a prior's loss is its bits a code again, in nats
            panel = panel._replace(size="quarter")
        chosen.append(panel)
    return chosen


def _levels(lines: Sequence[Mapping[str, Any]], uniform_bits: float | None) -> tuple[tuple[str, float], ...]:
    """Name what a code costs without any learning, the highest first."""
    named = [("uniform", [] if uniform_bits is None else [uniform_bits])]
    for label, metric in (("unigram", "unigram"), ("unigram by position", "position_unigram")):
        named.append((label, series(lines, "validation", f"{metric}_bits_per_code")[1]))
    return tuple((label, values[-1]) for label, values in named if values)
