"""What is wrong with a run and what to change, as a function of its records and config."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, isfinite
from statistics import median
from typing import Any

from vqvae.config import PriorConfig, RunConfig, TokenizerConfig
from vqvae.report.curves import series

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something wrong.

    Attributes:
        name: of the illness, such as ``collapse``.
        says: what is wrong, with its numbers.
        change: what to do about it.
        options: by key, values that a new training with the same config can be given on the command line.
    """

    name: str
    says: str
    change: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Case:
    """A run's records and config, asked by name."""

    records: Sequence[Record]
    config: RunConfig

    def curve(self, split: str, name: str) -> tuple[list[float], list[float]]:
        """Return the steps and finite values of a metric."""
        return series(self.records, split, name)

    def last(self, name: str) -> float | None:
        """Return a metric's last held-out value; without one, what ``vqvae evaluate`` measured."""
        values = self.curve("validation", name)[1] or self.curve("evaluation", name)[1]
        return values[-1] if values else None

    def quarters(self, name: str, split: str = "train") -> list[float]:
        """Return the medians of a metric's four quarters in time; none of fewer than eight values."""
        values = self.curve(split, name)[1]
        bounds = [len(values) * i // 4 for i in range(5)]
        return [median(values[a:b]) for a, b in pairwise(bounds)] if len(values) > 7 else []

    @property
    def step(self) -> int:
        """The last step with a record."""
        return max((record["step"] for record in self.records), default=0)

    def slower(self, times: float) -> dict[str, str]:
        """Return the option of a learning rate so many times the present one."""
        return {"training.learning_rate": f"{self.config.training.learning_rate * times:.3g}"}


def diagnose(records: Sequence[Record], config: RunConfig) -> list[Finding]:
    """Return what is wrong with a run, the gravest first; nothing for a healthy one.

    Args:
        records: of ``metrics.jsonl``, each with ``step`` and ``split``; a split ``evaluation`` holds what
            ``vqvae evaluate`` measured, a split ``model`` the names of weights that are ``not_finite``.
        config: of the run.
    """
    case, found = Case(records, config), list[Finding]()
    if (broken := _not_finite(case)) is not None:  # all else follows from it
        return [broken]
    for check in _EVERY + (_TOKENIZER if isinstance(config, TokenizerConfig) else _PRIOR):
        finding = check(case)
        # what would change the same key otherwise is a consequence of the graver illness
        if finding is not None and not any(finding.options.keys() & graver.options.keys() for graver in found):
            found.append(finding)
    return found or list(filter(None, [_no_progress(case)]))


def _not_finite(case: Case) -> Finding | None:
    bad = sorted(
        {name for record in case.records for name, value in record.items()
         if isinstance(value, float) and not isfinite(value)}
        | {name for record in case.records for name in record.get("not_finite", ())}
    )  # fmt: skip
    dropped = max((record.get("dropped", 0) for record in case.records), default=0)
    if not bad and not dropped:
        return None
    options = case.slower(1 / 3) | ({} if case.config.training.clip else {"training.clip": "1.0"})
    what = ", ".join(bad[:4]) or f"loss, gradient or statistic of {dropped:.0f} dropped steps"
    says = f"{what} became infinite or not a number by step {case.step}"
    return Finding("not_finite", says, "take smaller steps, with the gradient clipped", options)


def _unfinished(case: Case) -> Finding | None:
    if case.step >= case.config.training.steps:
        return None
    says = f"the run stopped at step {case.step} of {case.config.training.steps}"
    return Finding("unfinished", says, "go on where it stopped: vqvae resume RUN")


def _exploding_gradient(case: Case) -> Finding | None:
    norms = case.quarters("gradient_norm")
    limit = 10 * max(norms[1] if norms else 0.0, case.config.training.clip)
    if not norms or norms[3] <= limit:
        return None
    says = f"the gradient's norm grew from {norms[1]:.3g} in the second quarter to {norms[3]:.3g} in the last"
    options = case.slower(1 / 3) | ({} if case.config.training.clip else {"training.clip": "1.0"})
    return Finding("exploding_gradient", says, "take smaller steps, with the gradient clipped", options)


def _vanishing_gradient(case: Case) -> Finding | None:
    norms = case.quarters("gradient_norm")
    if not norms or norms[3] >= 1e-6:
        return None
    says = f"the gradient's norm is {norms[3]:.1g}: nothing is being learned any more"
    return Finding("vanishing_gradient", says, "start again from other weights", {"training.seed": "1"})


def _unstable(case: Case) -> Finding | None:
    values = case.curve("train", "loss")[1]
    after = values[len(values) // 4 :]
    if len(after) < 8:
        return None
    windows = [after[max(0, i - 4) : i + 5] for i in range(len(after))]
    spikes = sum(value > 2 * median(window) for value, window in zip(after, windows, strict=True))
    quarters = case.quarters("loss")
    if max(values) > max(10 * values[0], 20 * quarters[3]) or max(values) > 1000 * quarters[3]:
        says = f"the loss leapt to {max(values):.3g} on its way from {values[0]:.3g} to {values[-1]:.3g}"
    elif quarters[3] > 1.2 * min(quarters[:3]):
        says = f"the loss rose again, from {min(quarters[:3]):.3g} to {quarters[3]:.3g}"
    elif spikes >= max(2, 0.05 * len(after)):
        says = f"the loss jumps: {spikes} of {len(after)} records are twice their neighbours"
    else:
        return None
    return Finding("unstable", f"{says}: the learning rate is too high", "take smaller steps", case.slower(1 / 3))


def _undertrained(case: Case) -> Finding | None:
    losses = case.quarters("loss")
    if not losses or case.step < case.config.training.steps or losses[3] > 0.9 * losses[2]:
        return None
    says = f"the loss was still falling at the end, from {losses[2]:.3g} in the third quarter to {losses[3]:.3g}"
    if case.config.training.learning_rate < 2e-4 and losses[3] > 0.5 * losses[0]:
        says += f", and slowly: the learning rate {case.config.training.learning_rate:.3g} is too low"
        return Finding("slow", says, "take larger steps", case.slower(5))
    steps = {"training.steps": str(2 * case.config.training.steps)}
    return Finding("undertrained", says, "train longer", steps)


def _no_progress(case: Case) -> Finding | None:
    """Say that reconstructions are bad where nothing else says why."""
    nmse, training = case.last("nmse"), case.config.training
    if nmse is None or nmse < 0.9:
        return None
    says = f"reconstructions are hardly better than a plain grey: NMSE {nmse:.3g}, where 1 is a constant"
    if training.steps < 200:
        return Finding("no_progress", says, "train longer", {"training.steps": str(10 * training.steps)})
    larger = {"training.learning_rate": f"{max(3 * training.learning_rate, 3e-4):.3g}"}
    return Finding("no_progress", f"{says}: the learning rate is too low", "take larger steps", larger)


def _codes(case: Case) -> Finding | None:
    """Collapse, or, where that is not it, dead codes: judged by what so many draws could have shown."""
    assert isinstance(case.config, TokenizerConfig)
    quantizer, perplexity, usage = case.config.model.quantizer, case.last("perplexity"), case.last("usage")
    if perplexity is None or usage is None:
        return None
    num_codes, counted = quantizer.code_count(), case.last("counted") or float("inf")
    seen = usage / -(exp(-min(50.0, counted / num_codes)) - 1)  # a share of what even use would show
    levels = [value for i in range(1, 65) if (value := case.last(f"usage_{i}")) is not None]
    change, options = quantizer.advice("model.quantizer")
    says = f"perplexity {perplexity:.3g} and usage {100 * usage:.3g} % of K = {num_codes:,} codes"
    if num_codes > 2 and perplexity < max(2.0, 0.15 * min(num_codes, counted)):
        return Finding("collapse", f"a few codes stand for everything: {says}", change, options)
    if min([seen, *levels]) < 0.75:
        worst = f"; of the worst level {100 * min(levels):.3g} %" if levels else ""
        dead = round(num_codes * (1 - usage))
        return Finding("dead_codes", f"{dead:,} codes are never chosen: {says}{worst}", change, options)
    return None


def _commitment(case: Case) -> Finding | None:
    assert isinstance(case.config, TokenizerConfig)
    beta, losses = case.config.beta, case.quarters("commitment")
    reconstruction = case.quarters("reconstruction")
    pull, wanted = case.last("gradient_commitment"), case.last("gradient_reconstruction")
    grown = bool(losses) and losses[3] > 3 * losses[1] and beta * losses[3] > reconstruction[3]
    drowned = pull is not None and wanted is not None and pull > wanted > 1e-8
    if not (grown or drowned):
        return None
    if grown:
        says = f"the commitment loss grew from {losses[1]:.3g} to {losses[3]:.3g}: latents run from their codes"
        larger = min(4 * beta, 10.0) if beta else 0.25
        return Finding("commitment", says, "hold them closer with a larger beta", {"beta": f"{larger:.3g}"})
    ratio = (pull or 0.0) / (wanted or 1.0)
    says = f"at the encoder the commitment pulls {ratio:.3g} times as hard as the reconstruction, at beta {beta:g}"
    smaller = {"beta": f"{min(0.25, beta / 4):.3g}"}
    return Finding("commitment", says, "let the reconstruction lead, with a smaller beta", smaller)


def _overfit(case: Case) -> Finding | None:
    steps, held = case.curve("validation", "bits_per_code")
    _, trained = case.curve("validation", "train_bits_per_code")
    if len(held) < 2 or len(trained) != len(held):
        return None
    best = min(range(len(held)), key=held.__getitem__)
    if held[-1] < held[best] + max(0.01, 0.005 * held[best]) or trained[-1] >= trained[best]:
        return None
    says = (
        f"the prior is overfit: held out, it was best at step {steps[best]:,.0f}, {held[best]:.4g} bits a code, "
        f"and is {held[-1]:.4g} now, while on training rows it fell from {trained[best]:.4g} to {trained[-1]:.4g}"
    )
    assert isinstance(case.config, PriorConfig)
    change, options = case.config.model.advice("model")
    options = {"training.steps": f"{steps[best]:.0f}", **options}
    return Finding("overfit", says, f"stop at that step, and {change}; more images help most", options)


def _no_better_than_counting(case: Case) -> Finding | None:
    bits, unigram = (
        case.last("bits_per_code"),
        (case.curve("validation", "unigram_bits_per_code")[1] or [None])[-1],
    )
    if bits is None or unigram is None or bits < unigram - 0.01:
        return None
    says = f"the prior costs {bits:.4g} bits a code, no less than counting how often each occurs: {unigram:.4g}"
    steps = {"training.steps": str(4 * case.config.training.steps)}
    return Finding("no_better_than_counting", says, "train longer", steps)


_EVERY: tuple[Callable[[Case], Finding | None], ...] = (
    _unfinished, _exploding_gradient, _vanishing_gradient, _unstable,
)  # fmt: skip
_TOKENIZER = (_commitment, _codes, _undertrained)
_PRIOR = (_overfit, _no_better_than_counting, _undertrained)
