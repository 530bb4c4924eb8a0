"""One step of a prior after the other, with classifier-free guidance where it is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor

from vqvae.sampling.protocol import Prior

Step = Callable[[Tensor | None], Tensor]


def stepper(
    prior: Prior, count: int, grid: tuple[int, int], *, labels: Tensor | None = None, guidance: float = 1.0
) -> Step:
    """Return the function from the codes before, int64 [count], to the logits of the next ones, [count, K].

    With guidance s, every grid is stepped twice, with its class and without one, side by side in one cache, and
    its logits are ``u + s (c - u)``: 0 forgets the class, 1 is the class alone and costs one step, above 1 asks
    for more of what sets the class apart (arXiv 2207.12598, equation 6, whose w is s - 1).

    Args:
        prior: in eval mode.
        count: grids side by side.
        grid: (h, w).
        labels: int64 [count] classes, or None.
        guidance: s.

    Raises:
        ValueError: for a guidance other than 1 without labels, or with a prior that knows no classes.
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


def has_classes(prior: Prior, labels: Tensor | None) -> bool:
    """Return whether there is a class for guidance to ask more of."""
    return prior.num_classes > 0 and labels is not None


def check_guidance(guidance: float, *, classes: bool) -> None:
    """Raise ValueError for a guidance other than 1 where there are no classes."""
    if guidance != 1.0 and not classes:
        raise ValueError(f"guidance {guidance}: needs labels, and a prior that was trained with classes")
