"""Classifier-free guidance of a prior."""

from collections.abc import Callable

import torch
from torch import Tensor

from vqvae.sampling.protocol import PriorProtocol

Step = Callable[[Tensor | None], Tensor]


def stepper(
    prior: PriorProtocol, count: int, grid: tuple[int, int], *, labels: Tensor | None = None, guidance: float = 1.0
) -> Step:
    """Return a function from the previous codes, int64 [count], to the next logits, float [count, K].

    With guidance s, the logits are ``u + s (c - u)``: c are the logits given the class, u the logits without a
    class (arXiv 2207.12598, equation 6, with w = s - 1). At s = 0 the class has no effect, s = 1 is the prior
    itself, and s > 1 strengthens the class. If s is not 1, the cache holds each grid twice, with and without its
    class.

    Args:
        prior: the prior, in eval mode.
        count: number of grids.
        grid: (h, w) of the grids.
        labels: the classes, int64 [count], or None.
        guidance: the weight s.

    Raises:
        ValueError: for a guidance other than 1 without labels, or with a prior that has no classes.
    """
    if guidance == 1.0:
        cache = prior.start(count, grid, labels)
        return lambda previous: prior.step(cache, previous)
    check_guidance(guidance, classes=has_classes(prior, labels))
    assert labels is not None
    cache = prior.start(2 * count, grid, torch.cat([labels, torch.full_like(labels, prior.num_classes)]))

    def step(previous: Tensor | None) -> Tensor:
        logits = prior.step(cache, None if previous is None else previous.repeat(2))
        with_class, without = logits.chunk(2)
        return without + guidance * (with_class - without)

    return step


def has_classes(prior: PriorProtocol, labels: Tensor | None) -> bool:
    """Return whether the prior has classes and labels are given."""
    return prior.num_classes > 0 and labels is not None


def check_guidance(guidance: float, *, classes: bool) -> None:
    """Raise ValueError for a guidance other than 1 without classes."""
    if guidance != 1.0 and not classes:
        raise ValueError(f"guidance {guidance}: needs labels, and a prior that was trained with classes")
