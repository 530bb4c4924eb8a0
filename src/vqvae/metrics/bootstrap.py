"""Confidence intervals by bootstrap: the same figure of sets drawn from the set, with replacement."""

import math

import torch
from torch import Tensor

from vqvae import noise

RESAMPLES = 100
_WIDTH = 1.96  # standard deviations on either side: 95 % of a normal distribution

Interval = tuple[float, float]


def resamples(size: int, count: int = RESAMPLES, *, seed: int = 0) -> Tensor:
    """Return how often each row is in the set itself and in samples of it, drawn with replacement.

    Args:
        size: N, the number of rows.
        count: R, the number of samples; 0 for the set itself alone.
        seed: the samples are a function of it.

    Returns:
        float64 [1 + R, N]; row 0 is all ones, the set itself, and every row sums to N.
    """
    rows = torch.arange(size)
    drawn = [rows] + [noise.random_bits(seed, number, rows) % size for number in range(count)]
    return torch.stack([torch.bincount(draw, minlength=size) for draw in drawn]).double()


def interval(figures: Tensor, *, low: float = -math.inf, high: float = math.inf) -> Interval | None:
    """Return the 95 % interval: the set's figure plus and minus 1.96 standard deviations of the samples' figures.

    The mean of the samples' figures is not used: a sample holds rows twice, and its Frechet distance is too high.

    Args:
        figures: float64 [1 + R], of the set itself and of each sample.
        low: the least that the figure can be.
        high: the most that the figure can be.

    Returns:
        None without samples, and where a figure is not finite, as the PSNR of equal images.
    """
    if len(figures) < 3 or not figures.isfinite().all():
        return None
    value, spread = float(figures[0]), _WIDTH * float(figures[1:].std())
    return max(low, value - spread), min(high, value + spread)
