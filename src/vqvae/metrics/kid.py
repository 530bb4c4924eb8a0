"""The kernel distance between two sets of features (arXiv 1801.01401): the squared MMD, without bias."""

import torch
from torch import Tensor

_BLOCK = 1000  # rows of the kernel matrix in memory


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return ``(x . y / F + 1)^3`` of all pairs, float64 [N, M], of float64 [N, F] and [M, F]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kid(a: Tensor, b: Tensor, counts_a: Tensor | None = None, counts_b: Tensor | None = None) -> Tensor:
    """Return the unbiased estimate of the squared MMD from all pairs of each of R samples, float64 [R].

    ``mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j)``. Of two sets from one
    distribution the mean is 0, so the estimate may be below 0. Other programs average the same estimate over
    random subsets of 1,000 images; all pairs need no random choice.

    Args:
        a: float64 [N, F], N at least 2.
        b: float64 [M, F], M at least 2.
        counts_a: float64 [R, N], how often each sample has each row; one sample with every row by default. A row
            is never paired with itself.
        counts_b: float64 [R, M].
    """
    counts_a = torch.ones(1, len(a), dtype=torch.float64) if counts_a is None else counts_a
    counts_b = torch.ones(1, len(b), dtype=torch.float64) if counts_b is None else counts_b
    between = _sum(a, b, counts_a, counts_b, without_diagonal=False) / (counts_a.sum(1) * counts_b.sum(1))
    return _within(a, counts_a) + _within(b, counts_b) - 2 * between


def _within(x: Tensor, counts: Tensor) -> Tensor:
    pairs = counts.sum(1).square() - counts.square().sum(1)
    return _sum(x, x, counts, counts, without_diagonal=True) / pairs


def _sum(x: Tensor, y: Tensor, counts_x: Tensor, counts_y: Tensor, *, without_diagonal: bool) -> Tensor:
    """Return the sums over pairs of the kernel times both counts, float64 [R]."""
    total = torch.zeros(len(counts_x), dtype=torch.float64)
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = kernel(x[rows], y)
        if without_diagonal:
            block.diagonal(start).zero_()
        total += (counts_x[:, rows].T * (block @ counts_y.T)).sum(0)
    return total
