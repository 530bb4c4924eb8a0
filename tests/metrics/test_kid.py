"""KID equals its definition, pair by pair, and has no bias."""

from itertools import product

import pytest
import torch

from vqvae.metrics import kid as kid_module
from vqvae.metrics.kid import kid


def normal(key: int, count: int, size: int = 6) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(key), dtype=torch.float64)


def k(x: torch.Tensor, y: torch.Tensor) -> float:
    return (float(x.dot(y)) / len(x) + 1) ** 3


def by_hand(a: torch.Tensor, b: torch.Tensor) -> float:
    within = [
        sum(k(x[i], x[j]) for i, j in product(range(len(x)), repeat=2) if i != j) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    return sum(within) - 2 * sum(k(x, y) for x, y in product(a, b)) / (len(a) * len(b))


@pytest.mark.parametrize("block", [3, 1000])
def test_it_equals_the_sums_over_pairs(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kid_module, "_BLOCK", block)
    a, b = normal(1, 11), normal(2, 7) + 0.3
    assert kid(a, b).item() == pytest.approx(by_hand(a, b), rel=1e-12)


def test_a_sample_with_counts_never_pairs_a_row_with_itself() -> None:
    a, b = normal(1, 5), normal(2, 4)
    counts = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 0, 1, 0]], dtype=torch.float64)
    found = kid(a, b, counts, torch.ones(2, 4, dtype=torch.float64))
    assert found[0].item() == pytest.approx(by_hand(a, b)) and found[1].item() == pytest.approx(
        by_hand(a[[0, 1, 3]], b)
    )
    twice = torch.tensor([[2.0, 2, 2, 2, 2]], dtype=torch.float64)
    assert kid(a, b, twice, torch.ones(1, 4, dtype=torch.float64)).item() == pytest.approx(by_hand(a, b))


def test_two_samples_of_one_distribution_have_mean_zero() -> None:
    draws = torch.stack([kid(normal(key, 20), normal(10_000 + key, 20))[0] for key in range(150)])
    error = float(draws.std()) / len(draws) ** 0.5
    assert abs(float(draws.mean())) < 3 * error < 0.4
    assert (draws < 0).any()
