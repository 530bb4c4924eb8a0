"""Intervals by bootstrap: sets drawn with replacement, and as wide as theory says for a mean."""

import math

import pytest
import torch

from vqvae.metrics.bootstrap import interval, resamples
from vqvae.metrics.comparison import feature_figures


def test_the_first_row_is_the_set_itself_and_every_row_has_its_size() -> None:
    counts = resamples(50, 20, seed=3)
    assert torch.equal(counts[0], torch.ones(50, dtype=torch.float64))
    assert (counts.sum(1) == 50).all() and len(counts) == 21
    assert len({tuple(row) for row in counts.tolist()}) == 21
    assert torch.equal(counts, resamples(50, 20, seed=3)) and not torch.equal(counts, resamples(50, 20, seed=4))


def test_the_interval_of_a_mean_is_that_of_the_central_limit_theorem() -> None:
    values = torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = interval(resamples(400, 1000) @ values / 400)
    assert found is not None
    half = 1.96 * float(values.std(correction=0)) / math.sqrt(400)
    assert found[1] - found[0] == pytest.approx(2 * half, rel=0.08)
    assert sum(found) / 2 == pytest.approx(float(values.mean()))


def test_what_is_not_finite_or_not_resampled_has_no_interval() -> None:
    assert interval(torch.tensor([math.inf, 1.0, 2.0])) is None
    assert interval(torch.tensor([1.0])) is None


def test_an_interval_stays_within_what_the_figure_can_be() -> None:
    found = interval(torch.tensor([0.9, 0.7, 1.0, 0.8]), low=0.0, high=1.0)
    assert found is not None and 0.6 < found[0] < 0.9 and found[1] == 1.0


def test_an_interval_covers_what_a_second_set_gives() -> None:
    """Of 16 sets from one distribution, most intervals cover the mean figure of such sets."""
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(80, 4, dtype=torch.float64, generator=generator)
    sets = [torch.randn(80, 4, dtype=torch.float64, generator=generator) + 1 for _ in range(16)]
    found = [feature_figures(real, other, count=20) for other in sets]
    for name in ("frechet", "kid"):
        mean = sum(figures.values[name] for figures in found) / len(found)
        covered = sum(low < mean < high for low, high in (figures.intervals[name] or (0, 0) for figures in found))
        assert covered >= 12, name
