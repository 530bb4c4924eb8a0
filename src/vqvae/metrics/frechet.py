"""The Frechet distance between two sets of features, each taken for a Gaussian (arXiv 1706.08500, equation 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The Gaussian with the mean and the covariance of a set of features.

    Attributes:
        mean: float64 [F].
        covariance: float64 [F, F], the sum of squares divided by N - 1.
    """

    mean: Tensor
    covariance: Tensor


def gaussian_of(features: Tensor, counts: Tensor | None = None) -> Gaussian:
    """Return the Gaussian of a set.

    Args:
        features: float64 [N, F], N at least 2.
        counts: float64 [N], how often each row is in the set; once by default.
    """
    counts = torch.ones(len(features), dtype=torch.float64) if counts is None else counts
    total = counts.sum()
    mean = counts @ features / total
    centred = (features - mean) * counts.sqrt()[:, None]
    return Gaussian(mean, centred.T @ centred / (total - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return ``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))``, at least 0; 0 for equal Gaussians.

    ``tr (S_a S_b)^(1/2)`` is the sum of the singular values of ``S_a^(1/2) S_b^(1/2)``: nothing is complex, and
    singular covariances need no offset.
    """
    overlap = torch.linalg.svdvals(_root(a.covariance) @ _root(b.covariance)).sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return max(0.0, float((a.mean - b.mean).square().sum() + spread))


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root; eigenvalues that are 0 but for rounding are 0."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    return vectors * torch.where(values > rounding, values, 0).sqrt() @ vectors.T
