"""Find faults of the further terms of a tokenizer's objective, its ``losses``."""

from collections.abc import Iterator

from vqvae.config import TokenizerConfig
from vqvae.config.keys import entry_names
from vqvae.losses import Adversarial, LossConfig
from vqvae.report.case import Case, Finding

_WON = 0.95  # accuracy of a discriminator that the decoder no longer misleads
_GUESSES = 0.55  # accuracy of a discriminator whose answers hardly depend on the patch
_ONE_ANSWER = 1.95  # hinge loss of the same; one answer to all patches has 2
_LARGEST_SHARE = 0.9
_LARGEST_LECAM = 0.5


def _losses(case: Case) -> Iterator[tuple[str, LossConfig]]:
    """Yield the losses of a run by name."""
    assert isinstance(case.config, TokenizerConfig)
    yield from zip(entry_names(loss.kind for loss in case.config.losses), case.config.losses, strict=True)


def winning(case: Case) -> Finding | None:
    """Find a discriminator that tells almost every reconstruction from an image."""
    for name, loss in _losses(case):
        accuracy = case.quarters(f"{name}_accuracy")
        if not isinstance(loss, Adversarial.Config) or not accuracy or accuracy[3] < _WON:
            continue
        says = (
            f"the discriminator of losses.{name} wins: it judges {100 * accuracy[3]:.3g} % of the patches "
            "rightly, so it teaches the decoder little"
        )
        if loss.lecam < _LARGEST_LECAM:
            larger = {f"losses.{name}.lecam": f"{max(0.05, min(4 * loss.lecam, _LARGEST_LECAM)):.3g}"}
            return Finding("discriminator_wins", says, "regularise the discriminator", larger)
        slower = {f"losses.{name}.learning_rate": f"{loss.learning_rate / 4:.3g}"}
        return Finding("discriminator_wins", says, "let the discriminator learn more slowly", slower)
    return None


def guessing(case: Case) -> Finding | None:
    """Find a discriminator that gives images and reconstructions the same answers."""
    for name, loss in _losses(case):
        accuracy, hinge = case.quarters(f"{name}_accuracy"), case.quarters(f"{name}_loss")
        if not isinstance(loss, Adversarial.Config) or not accuracy or not hinge or not loss.weight:
            continue
        if max(accuracy[2:]) > _GUESSES or min(hinge[2:]) < _ONE_ANSWER:
            continue
        says = (
            f"the discriminator of losses.{name} guesses: it judges {100 * accuracy[3]:.3g} % of the patches "
            f"rightly and its loss is {hinge[3]:.3g}, where 2 is one answer to all patches"
        )
        faster = {f"losses.{name}.learning_rate": f"{3 * loss.learning_rate:.3g}"}
        return Finding("discriminator_guesses", says, "let the discriminator learn faster", faster)
    return None


def loss_weight(case: Case) -> Finding | None:
    """Find an adaptive weight at its limit, or one that has grown a hundredfold."""
    for name, loss in _losses(case):
        factors = case.quarters(f"{name}_factor")
        if not isinstance(loss, Adversarial.Config) or not factors:
            continue
        at_limit, grown = factors[3] > 0.99 * loss.adaptive_limit, factors[3] > 100 * max(factors[0], 1e-3)
        if not (at_limit or grown):
            continue
        says = f"the factor of losses.{name}'s weight went from {factors[0]:.3g} to {factors[3]:.3g}"
        says += f", its limit {loss.adaptive_limit:g}" if at_limit else ""
        says += ": the discriminator's gradient vanishes"
        lower = {f"losses.{name}.adaptive_limit": f"{max(factors[0], loss.adaptive_limit / 100):.3g}"}
        if not grown:  # at its limit from the start on
            lower = {f"losses.{name}.learning_rate": f"{3 * loss.learning_rate:.3g}"}
            return Finding("loss_weight", says, "let the discriminator learn faster", lower)
        return Finding("loss_weight", says, "limit the factor", lower)
    return None


def drowned(case: Case) -> Finding | None:
    """Find a term whose gradient at the reconstruction dominates the gradients of the other terms."""
    for name, loss in _losses(case):
        share = case.quarters(f"{name}_share")
        if not share or share[3] < _LARGEST_SHARE or not loss.weight:
            continue
        says = (
            f"losses.{name} dominates the other terms: its gradient at the reconstruction is "
            f"{100 * share[3]:.3g} % of the gradients of all terms"
        )
        smaller = loss.weight * (1 - share[3]) / share[3]  # as much as all others together
        options = {f"losses.{name}.weight": f"{max(smaller, 1e-4 * loss.weight):.2g}"}
        return Finding(
            "drowned", says, "use a smaller weight, with which the term has half of the gradient", options
        )
    return None
