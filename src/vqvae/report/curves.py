"""Choose the plots that a run's records have data for; ``plots`` draws them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from vqvae.metrics import described, measured_in


class Curve(NamedTuple):
    """A line of a panel: ``values`` at ``steps``. A ``noisy`` curve is drawn faint, with its average on top."""

    label: str
    ink: str
    noisy: bool
    steps: list[float]
    values: list[float]


class Panel(NamedTuple):
    """A plot: its title, its note and its curves.

    Attributes:
        key: the name of the panel, unique among the panels.
        title: what the plot shows.
        note: how to read it.
        size: ``wide``, ``half`` or ``quarter`` of the page.
        may_be_log: whether values that span a factor of 10 are drawn on a logarithmic scale.
        curves: the lines.
        last_step: the run's last step.
        levels: the labels and values of horizontal lines.
        best: the (step, value) that is marked, or None.
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


class _Line(NamedTuple):
    """A curve that a panel has if the records have the metric."""

    split: str
    metric: str
    label: str
    ink: str
    noisy: bool = False


class _Plan(NamedTuple):
    """A panel that is drawn if one of its lines has data. The default title is the first line's metric."""

    lines: Sequence[_Line]
    size: str = "half"
    may_be_log: bool = False
    title: str = ""
    note: str = ""


def _both(metric: str) -> tuple[_Line, _Line]:
    return (
        _Line("train", metric, "train", "train", noisy=True),
        _Line("validation", metric, "validation", "validation"),
    )


def _validation(metric: str) -> tuple[_Line]:
    return (_Line("validation", metric, "validation", "validation"),)


_PLANS: dict[str, _Plan] = {
    "bits": _Plan((
        _Line("train", "bits_per_code_prior", "training batches", "quiet", noisy=True),
        _Line("validation", "bits_per_code_prior_train", "training images", "train"),
        _Line("validation", "bits_per_code_prior", "validation images", "validation"),
    ), "wide", note="lower is better; the gap between the lines is overfitting"),
    "loss": _Plan(_both("loss"), may_be_log=True),
    "reconstruction": _Plan(_both("reconstruction"), may_be_log=True),
    "nmse": _Plan(_both("nmse"), may_be_log=True),
    "psnr": _Plan(_both("psnr")),
    "perplexity": _Plan(_both("perplexity")),
    "usage": _Plan(_both("usage")),
    "levels": _Plan((
        _Line("validation", "usage_1", "level 1", "train"),
        _Line("validation", "usage_2", "level 2", "validation"),
        *(_Line("validation", f"usage_{i}", "later levels", "quiet") for i in range(3, 17)),
    ), title="Usage by level", note="usage of each of the codes of a position; higher is better"),
    "error": _Plan(_validation("quantization_error"), may_be_log=True),
    "gradients": _Plan((
        _Line("validation", "gradient_reconstruction", "reconstruction", "train"),
        _Line("validation", "gradient_commitment", "commitment", "validation"),
        _Line("validation", "gradient_codebook", "codebook", "quiet"),
    ), may_be_log=True, title="Gradients of the three terms",
       note="norms on validation images; the commitment is multiplied by beta"),
    "codebook": _Plan((
        _Line("train", "codebook", "codebook", "quiet", noisy=True),
        _Line("train", "commitment", "commitment", "train", noisy=True),
    ), "quarter", may_be_log=True, title="Codebook losses", note="not multiplied by beta"),
    "shares": _Plan((
        _Line("train", "reconstruction_share", "reconstruction", "train", noisy=True),
        _Line("train", "perceptual_share", "perceptual", "validation", noisy=True),
        _Line("train", "adversarial_share", "adversarial", "quiet", noisy=True),
    ), title="Shares of the terms", note="of the gradient at the decoder's output"),
    "discriminator": _Plan((
        _Line("train", "adversarial_accuracy", "train", "train", noisy=True),
    ), "quarter", title="Discriminator", note="fraction of patches judged rightly: 0.5 is guessing, 1 has won"),
    "factor": _Plan((
        _Line("train", "adversarial_factor", "train", "train", noisy=True),
    ), "quarter", may_be_log=True, title="Adaptive weight", note="factor of the adversarial term"),
    "rate": _Plan((_Line("train", "learning_rate", "train", "train"),), "quarter"),
    "gradient": _Plan((_Line("train", "gradient_norm", "train", "train", noisy=True),), "quarter", True),
    "speed": _Plan((_Line("train", "images_per_second", "train", "train", noisy=True),), "quarter"),
}  # fmt: skip
_DRAWN_OTHERWISE = {"dead_codes", "counted"}  # the panel of usage shows the same facts


def series(records: Iterable[Mapping[str, Any]], split: str, metric: str) -> tuple[list[float], list[float]]:
    """Return the steps and the finite values of one metric, in the order of steps.

    If a step has two records, the later one is used: a resumed run repeats the steps after its checkpoint.
    """
    found = {
        record["step"]: float(record[metric])
        for record in records
        if record.get("split") == split
        and isinstance(record.get(metric), int | float)
        and isfinite(record[metric])
    }
    steps = sorted(found)
    return [float(step) for step in steps], [found[step] for step in steps]


def panels(records: Sequence[Mapping[str, Any]], *, uniform_bits: float | None = None) -> list[Panel]:
    """Choose the plots that a run's records have data for.

    Args:
        records: the records of ``metrics.jsonl``, each with ``step`` and ``split``.
        uniform_bits: log2 K. It is drawn as a horizontal line in the plot of bits per code, like the baselines.
    """
    chosen: list[Panel] = []
    last_step = max((record["step"] for record in records), default=0)
    for key, plan in _plans():
        curves = [Curve(line.label, line.ink, line.noisy, *series(records, *line[:2])) for line in plan.lines]
        curves = [curve for curve in curves if any(curve.values)]  # a loss that is always 0 is not drawn
        if not curves:
            continue
        panel = Panel(key, *_words(plan), plan.size, plan.may_be_log, curves, last_step)
        on_validation = [curve for curve in curves if curve.ink == "validation"]
        if key == "bits" and on_validation:
            best = min(zip(on_validation[0].steps, on_validation[0].values, strict=True), key=lambda at: at[1])
            panel = panel._replace(levels=_levels(records, uniform_bits), best=best)
        if key == "loss" and chosen:  # a prior's loss is its bits per code in nats: a small plot suffices
            panel = panel._replace(size="quarter")
        chosen.append(panel)
    return chosen


def _plans() -> Iterator[tuple[str, _Plan]]:
    """Yield the plans by key. Every other metric that training measures on validation images has its own panel."""
    yield from _PLANS.items()
    drawn = _DRAWN_OTHERWISE | {line.metric for plan in _PLANS.values() for line in plan.lines}
    for metric in measured_in("validation"):
        if metric.name not in drawn:
            yield metric.name, _Plan(_validation(metric.name))


def _words(plan: _Plan) -> tuple[str, str]:
    """Return title and note, by default from the table of metrics."""
    metric = described(plan.lines[0].metric)
    note = plan.note or ", ".join(filter(None, [metric.meaning, metric.unit, metric.direction]))
    return plan.title or metric.title, note


def _levels(records: Sequence[Mapping[str, Any]], uniform_bits: float | None) -> tuple[tuple[str, float], ...]:
    """Return the label and the value of each baseline, the highest first."""
    named = [("uniform", [] if uniform_bits is None else [uniform_bits])]
    for label, name in (("unigram", "unigram"), ("unigram by position", "position_unigram")):
        named.append((label, series(records, "validation", f"bits_per_code_{name}")[1]))
    return tuple((label, values[-1]) for label, values in named if values)
