"""Find what is wrong with a run and what to change, from its records, its config and its data."""

from collections.abc import Callable
from math import exp, inf, isfinite
from statistics import median
from typing import Any

from vqvae.config import PriorConfig, TokenizerConfig
from vqvae.metrics import described
from vqvae.report.case import Case as Case
from vqvae.report.case import Finding as Finding
from vqvae.report.loss_findings import drowned, guessing, loss_weight, winning


def diagnose(case: Case) -> list[Finding]:
    """Return what is wrong with a run, the most serious fault first; [] for a healthy run."""
    for cause in (_identical_images, _not_finite):  # either one causes all other faults
        if (finding := cause(case)) is not None:
            return [finding]
    found = list[Finding]()
    for check in _EVERY + (_TOKENIZER if isinstance(case.config, TokenizerConfig) else _PRIOR):
        finding = check(case)
        # a fault that would change the same key is taken for a consequence of the more serious one
        if finding is not None and not any(finding.options.keys() & graver.options.keys() for graver in found):
            found.append(finding)
    return found or list(filter(None, [_no_progress(case)]))


def _identical_images(case: Case) -> Finding | None:
    if not case.data.get("identical"):
        return None
    says = f"all training images of {case.data.get('spec', 'the data set')} are the same image"
    return Finding("identical_images", says, "train on other images; there is nothing to learn from these")


def _not_finite(case: Case) -> Finding | None:
    bad = sorted(
        {name for record in case.records for name, value in record.items() if _is_broken(name, value)}
        | {name for record in case.records for name in record.get("not_finite", ())}
    )
    dropped = max((record.get("dropped", 0) for record in case.records), default=0)
    if not bad and not dropped:
        return None
    options = case.slower(1 / 3) | ({} if case.config.training.clip else {"training.clip": "1.0"})
    what = ", ".join(bad[:4]) or f"a loss, gradient or statistic in {dropped:.0f} dropped steps"
    says = f"{what} became NaN or infinite by step {case.step}"
    return Finding("not_finite", says, "lower the learning rate and clip the gradient", options)


def _is_broken(name: str, value: Any) -> bool:
    """Return whether a value is wrongly not finite; the PSNR of an exact copy is rightly infinite."""
    if not isinstance(value, float) or isfinite(value):
        return False
    return not (value == inf and described(name).better == "higher")


def _unfinished(case: Case) -> Finding | None:
    if case.step >= case.config.training.steps:
        return None
    says = f"the run stopped at step {case.step} of {case.config.training.steps}"
    return Finding("unfinished", says, "continue it: vqvae resume RUN")


def _exploding_gradient(case: Case) -> Finding | None:
    norms = case.quarters("gradient_norm")
    limit = 10 * max(norms[1] if norms else 0.0, case.config.training.clip)
    if not norms or norms[3] <= limit:
        return None
    says = f"the gradient's norm grew from {norms[1]:.3g} in the second quarter to {norms[3]:.3g} in the last"
    options = case.slower(1 / 3) | ({} if case.config.training.clip else {"training.clip": "1.0"})
    return Finding("exploding_gradient", says, "lower the learning rate and clip the gradient", options)


def _vanishing_gradient(case: Case) -> Finding | None:
    norms = case.quarters("gradient_norm")
    if not norms or norms[3] >= 1e-6:
        return None
    says = f"the gradient's norm is {norms[3]:.1g}: the model no longer learns"
    return Finding("vanishing_gradient", says, "train again with other initial weights", {"training.seed": "1"})


def _positive(case: Case) -> str:
    """Return the curve that rules about ratios read: the reconstruction, where entropy makes the loss negative."""
    return "loss" if min(case.curve("train", "loss")[1], default=1.0) > 0 else "reconstruction"


def _unstable(case: Case) -> Finding | None:
    values = case.curve("train", _positive(case))[1]
    after = values[len(values) // 4 :]
    if len(after) < 8:
        return None
    windows = [after[max(0, i - 4) : i + 5] for i in range(len(after))]
    spikes = sum(value > 2 * median(window) for value, window in zip(after, windows, strict=True))
    quarters = case.quarters(_positive(case))
    if max(values) > max(10 * values[0], 20 * quarters[3]) or max(values) > 1000 * quarters[3]:
        says = f"the loss jumped to {max(values):.3g}; it was {values[0]:.3g} first and {values[-1]:.3g} last"
    elif quarters[3] > 1.2 * min(quarters[:3]):
        says = f"the loss rose again, from {min(quarters[:3]):.3g} to {quarters[3]:.3g}"
    elif spikes >= max(2, 0.05 * len(after)):
        says = f"the loss has spikes: {spikes} of {len(after)} records are twice as high as their neighbours"
    else:
        return None
    says = f"{says}: the learning rate is too high"
    return Finding("unstable", says, "lower the learning rate", case.slower(1 / 3))


def _undertrained(case: Case) -> Finding | None:
    losses = case.quarters(_positive(case))
    if not losses or case.step < case.config.training.steps or losses[3] > 0.9 * losses[2]:
        return None
    says = f"the loss was still falling at the end, from {losses[2]:.3g} in the third quarter to {losses[3]:.3g}"
    if case.config.training.learning_rate < 2e-4 and losses[3] > 0.5 * losses[0]:
        says += f", and slowly: the learning rate {case.config.training.learning_rate:.3g} is too low"
        return Finding("slow", says, "raise the learning rate", case.slower(5))
    steps = {"training.steps": str(2 * case.config.training.steps)}
    return Finding("undertrained", says, "train longer", steps)


def _no_progress(case: Case) -> Finding | None:
    """Find bad reconstructions; called only if nothing else is wrong."""
    nmse, training = case.last("nmse"), case.config.training
    if nmse is None or nmse < 0.9:
        return None
    says = f"reconstructions are little better than a constant image: NMSE {nmse:.3g}; a constant image has 1"
    if training.steps < 200:
        return Finding("no_progress", says, "train longer", {"training.steps": str(10 * training.steps)})
    larger = {"training.learning_rate": f"{max(3 * training.learning_rate, 3e-4):.3g}"}
    return Finding("no_progress", f"{says}: the learning rate is too low", "raise the learning rate", larger)


def _codes(case: Case) -> Finding | None:
    """Find a collapsed codebook or dead codes, given how many codes were counted."""
    assert isinstance(case.config, TokenizerConfig)
    quantizer, perplexity, usage = case.config.model.quantizer, case.last("perplexity"), case.last("usage")
    if perplexity is None or usage is None:
        return None
    num_codes, counted = quantizer.code_count(), case.last("counted") or float("inf")
    levels = [value for i in range(1, 65) if (value := case.last(f"usage_{i}")) is not None]
    if quantizer.shares_codebook():
        levels = []  # each of the codes that share a codebook may keep to a part of it
    # relative to the usage if codes were used evenly
    seen = usage / _even_usage(counted, num_codes)
    seen_levels = [level / _even_usage(counted / len(levels), num_codes) for level in levels]
    change, options = quantizer.advice("model.quantizer")
    says = f"perplexity {perplexity:.3g} and usage {100 * usage:.3g} % of K = {num_codes:,} codes"
    if num_codes > 2 and perplexity < max(2.0, 0.15 * min(num_codes, counted)):
        return Finding("collapse", f"the codebook has collapsed to a few codes: {says}", change, options)
    if min([seen, *seen_levels]) < 0.75:
        worst = f"; {100 * min(levels):.3g} % at the worst level" if levels else ""
        dead = round(num_codes * (1 - usage))
        return Finding("dead_codes", f"{dead:,} codes are never chosen: {says}{worst}", change, options)
    return None


def _even_usage(draws: float, num_codes: int) -> float:
    """Return the usage that a number of draws shows, on average, if all codes are equally likely."""
    return 1 - exp(-min(50.0, draws / num_codes))


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
        says = f"the commitment loss grew from {losses[1]:.3g} to {losses[3]:.3g}: z_e moves away from its codes"
        larger = min(4 * beta, 10.0) if beta else 0.25
        return Finding("commitment", says, "use a larger beta", {"beta": f"{larger:.3g}"})
    ratio = (pull or 0.0) / (wanted or 1.0)
    says = (
        f"the commitment dominates: with beta {beta:g}, its gradient at the encoder's output is {ratio:.3g} times "
        "the gradient of the reconstruction"
    )
    smaller = {"beta": f"{min(0.25, beta / 4):.3g}"}
    return Finding("commitment", says, "use a smaller beta", smaller)


def _ignored_codes(case: Case) -> Finding | None:
    """Find a decoder that ignores the codes: they gain fewer bits than they take."""
    assert isinstance(case.config, TokenizerConfig)
    gain, cost = case.last("code_gain"), case.last("kl_bits_per_dim_uniform")
    if gain is None or cost is None or gain >= cost:
        return None
    says = (
        f"the decoder ignores the codes: given the codes of another image, pixels cost only {max(0.0, gain):.3g} "
        f"bits per dimension more; the codes themselves cost {cost:.3g}"
    )
    return Finding("ignored_codes", says, *case.config.model.likelihood.advice("model.likelihood"))


def _overfit(case: Case) -> Finding | None:
    steps, held = case.curve("validation", "bits_per_code_prior")
    _, trained = case.curve("validation", "bits_per_code_prior_train")
    if len(held) < 2 or len(trained) != len(held):
        return None
    best = min(range(len(held)), key=held.__getitem__)
    if held[-1] < held[best] + max(0.01, 0.005 * held[best]) or trained[-1] >= trained[best]:
        return None
    says = (
        f"the prior is overfit: on validation images it was best at step {steps[best]:,.0f} with {held[best]:.4g} "
        f"bits per code, and has {held[-1]:.4g} now; on training images it fell from {trained[best]:.4g} to "
        f"{trained[-1]:.4g}"
    )
    assert isinstance(case.config, PriorConfig)
    change, options = case.config.model.advice("model")
    options = {"training.steps": f"{steps[best]:.0f}", **options}
    return Finding("overfit", says, f"stop at that step, and {change}; more images help most", options)


def _no_better_than_counting(case: Case) -> Finding | None:
    bits, unigram = case.last("bits_per_code_prior"), case.last("bits_per_code_unigram")
    if bits is None or unigram is None or bits < unigram - 0.01:
        return None
    says = f"the prior has {bits:.4g} bits per code, no fewer than the unigram baseline, {unigram:.4g}"
    steps = {"training.steps": str(4 * case.config.training.steps)}
    return Finding("no_better_than_counting", says, "train longer", steps)


_EVERY: tuple[Callable[[Case], Finding | None], ...] = (
    _unfinished, _exploding_gradient, _vanishing_gradient, _unstable,
)  # fmt: skip
_TOKENIZER = (winning, guessing, loss_weight, drowned, _commitment, _codes, _ignored_codes, _undertrained)
_PRIOR = (_overfit, _no_better_than_counting, _undertrained)
