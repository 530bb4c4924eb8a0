"""Means over the vectors that count, of one process or of all ranks."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.distributed import sum_over_ranks


def countable(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """Say which vectors [N, D] enter statistics, bool [N]: those that the mask [N] keeps and that are finite."""
    finite = vectors.detach().sum(1).isfinite()  # a NaN or an infinity outlives its sum
    return finite if mask is None else finite & mask


class RankShare(NamedTuple):
    """What turns this rank's sum over rows into its share of the mean over the rows of all ranks.

    The loss of several ranks is the mean of their losses, weighted by their numbers of rows, whether a row counts
    or not. With equal batches, it is the plain mean that DDP takes. So a rank whose mask leaves few rows must
    divide by more than the number of the rows that it counts itself.

    Attributes:
        marked: scalar, the number of rows that count on all ranks; 1 where there are none.
        divisor: scalar, what this rank's sum is divided by; in one process, it is ``marked``.
        training: whether all ranks take part.
    """

    marked: Tensor
    divisor: Tensor
    training: bool

    @classmethod
    def of(cls, rows: Tensor, *, training: bool) -> Self:
        """Count the rows that count, bool [N]: of all ranks in training, else of this rank alone."""
        own = torch.stack([rows.sum(), rows.new_full((), rows.shape[0], dtype=torch.int64)])
        marked, number = sum_over_ranks(own) if training else own
        divisor = marked * (own[1] / number.clamp(min=1))
        return cls(marked.clamp(min=1), torch.where(divisor > 0, divisor, 1.0), training)

    def mean_over_ranks(self, total: Tensor) -> Tensor:
        """Return the mean over all ranks of a sum, given this rank's ``total``, with the gradient of its part."""
        own, total = total / self.divisor, total.detach()
        return (sum_over_ranks(total) if self.training else total) / self.marked + (own - own.detach())


def mean_square(a: Tensor, b: Tensor, rows: Tensor | None, *, training: bool) -> Tensor:
    """Return the mean of (a - b)^2 over all elements of the rows that count; 0 where none counts.

    In training on several ranks, it is this rank's share of the mean over all ranks (see ``RankShare``).

    Args:
        a: float [N, D].
        b: float [N, D].
        rows: bool [N], the rows that count; None for all.
        training: whether all ranks call this function.
    """
    if rows is None:
        return F.mse_loss(a, b, reduction="sum") / max(1, a.numel())
    difference = torch.where(rows[:, None], a - b, 0.0)  # not a product: 0 * NaN is NaN
    return difference.square().sum() / (RankShare.of(rows, training=training).divisor * a.shape[1])
