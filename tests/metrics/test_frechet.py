"""The Frechet distance of two Gaussians: a closed form, scipy's matrix square root, and what a metric must do."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from vqvae.metrics.frechet import Gaussian, frechet_distance, gaussian_of


def features(key: int, count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(key)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) @ mix + key


def test_gaussians_with_the_same_axes_have_a_closed_form() -> None:
    axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    spreads = torch.tensor([1.0, 2, 3, 4, 5, 0], dtype=torch.float64), torch.arange(6, dtype=torch.float64)
    means = torch.zeros(6, dtype=torch.float64), torch.full((6,), 2.0, dtype=torch.float64)
    a, b = (Gaussian(m, axes * s**2 @ axes.T) for m, s in zip(means, spreads, strict=True))
    expected = 6 * 2.0**2 + float((spreads[0] - spreads[1]).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "size"), [(500, 8), (100, 64)])
def test_it_equals_scipys_matrix_square_root(count: int, size: int) -> None:
    x, y = features(1, count, size), features(2, count, size)
    means = x.mean(0).numpy(), y.mean(0).numpy()
    covariances = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(gaussian_of(x), gaussian_of(y)) == pytest.approx(expected, rel=1e-9)


def test_fewer_images_than_features_need_no_offset() -> None:
    """Of N = 2 points each, the covariances have rank 1, and tr (S_a S_b)^(1/2) is |u . v|."""
    u, v = torch.tensor([3.0, 4, 0, 0]).double(), torch.tensor([1.0, 0, 2, 0]).double()
    a, b = (gaussian_of(torch.stack([w, -w]) / 2**0.5) for w in (u, v))
    expected = float(u @ u + v @ v - 2 * (u @ v).abs())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_it_is_symmetric_zero_for_equal_sets_and_at_least_zero() -> None:
    a, b = gaussian_of(features(1, 40, 16)), gaussian_of(features(2, 40, 16))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert 0 <= frechet_distance(a, a) < 1e-10 * float(a.covariance.trace())


def test_a_count_is_a_row_that_stands_there_so_often() -> None:
    x = features(1, 10, 4)
    counts = torch.tensor([0, 1, 2, 3, 0, 1, 0, 2, 1, 0])
    counted, repeated = gaussian_of(x, counts.double()), gaussian_of(x.repeat_interleave(counts, 0))
    assert torch.allclose(counted.mean, repeated.mean, rtol=1e-12)
    assert torch.allclose(counted.covariance, repeated.covariance, rtol=1e-12)
