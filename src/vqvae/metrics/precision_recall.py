"""Precision and recall of a set of images by nearest neighbours in features (arXiv 1904.06991)."""

from typing import NamedTuple

import torch
from torch import Tensor

NEIGHBOURS = 3  # k of arXiv 1904.06991, section 3.1
_BLOCK = 1000  # rows of the matrix of distances in memory
_TOLERANCE = 1e-12  # of a squared distance, relative to the squared norms that it is the difference of


class Nearest(NamedTuple):
    """The nearest rows of a set.

    Attributes:
        rows: int64 [N, k], nearest first.
        squares: float64 [N, k], squared distances.
    """

    rows: Tensor
    squares: Tensor


def nearest(queries: Tensor, references: Tensor, k: int, *, but_itself: bool = False) -> Nearest:
    """Return the k references nearest to each query.

    Args:
        queries: float64 [N, F].
        references: float64 [M, F], more than k rows.
        k: their number.
        but_itself: whether query i is reference i and not its own neighbour.
    """
    rows, squares = list[Tensor](), list[Tensor]()
    for start in range(0, len(queries), _BLOCK):
        block = _squared_distances(queries[start : start + _BLOCK], references)
        if but_itself:
            block.diagonal(start).fill_(torch.inf)
        found = block.topk(k, largest=False)
        rows.append(found.indices)
        squares.append(found.values)
    return Nearest(torch.cat(rows), torch.cat(squares))


def lies_within(queries: Tensor, references: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Return whether each query lies within the manifold of the references, bool [N] (equation 1).

    It does where it is at most as far from some reference as this reference's k-th neighbour among the others.

    Args:
        queries: float64 [N, F].
        references: float64 [M, F], more than k rows.
        k: which neighbour sets the radius.
    """
    radii = nearest(references, references, k, but_itself=True).squares[:, -1]
    slack = _TOLERANCE * references.square().sum(1)
    within = [(_squared_distances(part, references) <= radii + slack).any(1) for part in queries.split(_BLOCK)]
    return torch.cat(within)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return squared distances, float64 [N, M], at least 0."""
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_(min=0)
