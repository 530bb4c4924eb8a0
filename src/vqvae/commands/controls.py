"""The controls of sampling: a prior's own, those that a user gives, and their ranges."""

from pathlib import Path
from typing import Any

from torch import Tensor

from vqvae.errors import ArgumentError
from vqvae.model_io import Opened
from vqvae.priors import Prior
from vqvae.published import sampling_settings
from vqvae.sampling import PLAIN, Controls, check_candidates
from vqvae.screen import say


def own_controls(path: Path, prior: Opened[Prior]) -> Controls:
    """Return the settings of sampling of a prior's run or folder; without classes, guidance has no effect."""
    return sampling_settings(path).fitting(classes=prior.model.num_classes > 0)


def chosen_controls(own: Controls, **given: float | None) -> Controls:
    """Return controls with the given values; if every value is None, return the prior's own controls and say so.

    The prior's own controls were chosen together, so a single given value replaces all of them.
    """
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if chosen:
        return Controls(**chosen)
    if own != PLAIN:
        rest = "temperature 1 alone draws from the prior itself"
        say(f"samples are drawn with {own.words()}, the model's own settings; {rest}")
    return own


def check_controls(controls: Controls, labels: Tensor | None, candidates: int = 1) -> None:
    """Raise ArgumentError for a control of sampling out of its range."""
    try:
        controls.check(classes=labels is not None)
        check_candidates(candidates, classes=labels is not None)
    except ValueError as error:
        name, _, problem = str(error).partition(" ")
        raise ArgumentError(name, problem) from None
