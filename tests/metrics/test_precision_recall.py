"""Precision and recall equal the definition of arXiv 1904.06991, equations 1 and 2, image by image."""

import pytest
import torch
from torch import Tensor

from vqvae.metrics import precision_recall
from vqvae.metrics.comparison import feature_figures
from vqvae.metrics.precision_recall import lies_within, nearest


def normal(key: int, count: int, size: int = 3) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(key), dtype=torch.float64)


def by_hand(queries: Tensor, references: Tensor, k: int) -> list[bool]:
    found = []
    for query in queries:
        inside = False
        for row, reference in enumerate(references):
            others = [float((reference - other).norm()) for i, other in enumerate(references) if i != row]
            inside |= float((query - reference).norm()) <= sorted(others)[k - 1]
        found.append(inside)
    return found


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("k", [1, 3])
def test_it_equals_the_definition(k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "_BLOCK", block)
    queries, references = normal(1, 40) * 1.5, normal(2, 30)
    expected = by_hand(queries, references, k)
    assert lies_within(queries, references, k).tolist() == expected and 5 < sum(expected) < 35


def test_the_neighbours_are_those_of_all_distances() -> None:
    queries, references = normal(1, 9), normal(2, 12)
    found = nearest(queries, references, 2)
    distances = torch.cdist(queries, references)
    assert torch.equal(found.rows, distances.argsort(1)[:, :2])
    assert torch.allclose(found.squares.sqrt(), distances.sort(1).values[:, :2])
    itself = nearest(references, references, 1, but_itself=True)
    assert (itself.rows[:, 0] != torch.arange(12)).all()


def test_what_precision_and_recall_tell_apart() -> None:
    real = torch.cat([normal(1, 60), normal(2, 60) + 20])
    one_mode = feature_figures(real, normal(3, 120) * 0.5, count=0).values
    noise = feature_figures(real, normal(4, 120) * 60, count=0).values
    assert one_mode["precision"] > 0.9 and one_mode["recall"] < 0.55
    assert noise["precision"] < 0.1
    same = feature_figures(real, real, count=0).values
    assert same["precision"] == same["recall"] == 1 and same["frechet"] < 1e-9


def test_copies_of_an_image_lie_within_their_own_manifold() -> None:
    """The radius of four copies is 0, and rounding must not put them outside."""
    images = normal(5, 50, 64) * 1e3
    copies = images.repeat(4, 1)
    assert lies_within(images, copies).all() and not lies_within(images + 1e-2, copies).any()
