"""Means over the vectors that a mask keeps, in one process or over all ranks."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.distributed import sum_over_ranks


def countable(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """Return which vectors [N, D] enter statistics, bool [N]: the finite vectors that the mask [N] keeps."""
    finite = vectors.detach().sum(1).isfinite()  # a NaN or an infinity outlives its sum
    return finite if mask is None else finite & mask


class RankShare(NamedTuple):
    """The divisors that turn this rank's sum over rows into its share of the mean over the rows of all ranks.

    The loss of several ranks is the mean of their losses, weighted by their numbers of rows, masked rows included.
    With equal batches, this is the plain mean that DDP takes. So a rank whose mask keeps few rows must divide by
    more than the number of rows that it keeps.

    Attributes:
        marked: scalar, the number of rows that the masks of all ranks keep; at least 1.
        divisor: scalar, the divisor of this rank's sum; in one process, it is ``marked``.
        training: whether all ranks take part.
    """

    marked: Tensor
    divisor: Tensor
    training: bool

    @classmethod
    def of(cls, rows: Tensor, *, training: bool) -> Self:
        """Count the rows that a mask, bool [N], keeps: on all ranks in training, otherwise on this rank."""
        own = torch.stack([rows.sum(), rows.new_full((), rows.shape[0], dtype=torch.int64)])
        marked, number = sum_over_ranks(own) if training else own
        divisor = marked * (own[1] / number.clamp(min=1))
        return cls(marked.clamp(min=1), torch.where(divisor > 0, divisor, 1.0), training)

    def mean_over_ranks(self, total: Tensor) -> Tensor:
        """Return the mean over all ranks of a sum, given this rank's ``total``, with the gradient of its part."""
        own, total = total / self.divisor, total.detach()
        return (sum_over_ranks(total) if self.training else total) / self.marked + (own - own.detach())


def mean_square(a: Tensor, b: Tensor, rows: Tensor | None, *, training: bool) -> Tensor:
    """Return the mean of (a - b)^2 over all elements of the rows that a mask keeps; 0 if it keeps none.

    In training on several ranks, it is this rank's share of the mean over all ranks (see ``RankShare``).

    Args:
        a: float [N, D].
        b: float [N, D].
        rows: bool [N], the mask; None keeps all rows.
        training: whether all ranks call this function.
    """
    if rows is None:
        return F.mse_loss(a, b, reduction="sum") / max(1, a.numel())
    difference = torch.where(rows[:, None], a - b, 0.0)  # not a product: 0 * NaN is NaN
    return difference.square().sum() / (RankShare.of(rows, training=training).divisor * a.shape[1])
