"""Between feature maps [B, n*D, h, w] and lists of vectors [B*h*w*n, D], and the gradient's straight way."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.distributed import sum_over_ranks

Estimator = Callable[[Tensor, Tensor], Tensor]
"""(z_e, z_q), vectors float [..., D] each, to z_q bit for bit, with a gradient for z_e."""


def vectors_of(z: Tensor, codes_per_position: int) -> Tensor:
    """Return the vectors of a map, float32 [B*h*w*n, D], the codes of a position side by side."""
    channels_last = z.permute(0, 2, 3, 1)
    return channels_last.reshape(-1, z.shape[1] // codes_per_position).float()


def map_of(vectors: Tensor, like: Tensor) -> Tensor:
    """Return vectors [B*h*w*n, D] as a map [B, n*D, h, w] of the shape of ``like``: ``vectors_of`` undone."""
    batch, channels, height, width = like.shape
    return vectors.view(batch, height, width, channels).permute(0, 3, 1, 2)


def embed_codes(codes: Tensor, codebook: Tensor) -> Tensor:
    """Return the map of codes, float [B, n*D, h, w], for codes int64 [B, h, w, n] and a codebook [K, D]."""
    return F.embedding(codes, codebook).flatten(3).permute(0, 3, 1, 2)


def rows_of(mask: Tensor | None, vectors: Tensor) -> Tensor | None:
    """Return a mask of positions, bool [B, h, w], for the vectors [B*h*w*n, D] there: bool [B*h*w*n]."""
    return None if mask is None else mask.flatten().repeat_interleave(len(vectors) // max(1, mask.numel()))


def rows_that_count(vectors: Tensor, mask: Tensor | None) -> Tensor:
    """Say which vectors [B*h*w*n, D] enter statistics, bool: those unmasked and without a NaN or infinity."""
    finite = vectors.detach().sum(1).isfinite()  # a NaN or an infinity outlives its sum
    rows = rows_of(mask, vectors)
    return finite if rows is None else finite & rows


class RankShare(NamedTuple):
    """What turns this rank's sum over rows into its share of the mean over all ranks' rows.

    A loss of several ranks is the mean of theirs weighted by their rows, marked or not (with equal batches, the
    plain mean that DDP takes). So a rank whose mask leaves less must divide by less than its own marked rows.

    Attributes:
        marked: scalar, the rows that count, of all ranks; 1 where there are none.
        divisor: scalar, what this rank's sum is divided by: in one process, ``marked``.
        training: whether all ranks take part.
    """

    marked: Tensor
    divisor: Tensor
    training: bool

    @classmethod
    def of(cls, rows: Tensor, *, training: bool) -> "RankShare":
        """Count the rows marked, bool [N]: of all ranks in training, else this rank's alone."""
        own = torch.stack([rows.sum(), rows.new_tensor(len(rows), dtype=torch.int64)])
        marked, number = sum_over_ranks(own) if training else own
        divisor = marked * (own[1] / number.clamp(min=1))
        return cls(marked.clamp(min=1), torch.where(divisor > 0, divisor, 1.0), training)

    def mean_over_ranks(self, total: Tensor) -> Tensor:
        """Return the mean of which this rank has the sum ``total``, with the gradient of this rank's part."""
        own, total = total / self.divisor, total.detach()
        return (sum_over_ranks(total) if self.training else total) / self.marked + (own - own.detach())


def mean_square(a: Tensor, b: Tensor, rows: Tensor | None, *, training: bool) -> Tensor:
    """Return the mean of (a - b)^2 over all elements [N, D] of the rows marked, bool [N]; 0 over none.

    In training on several ranks, it is this rank's ``RankShare`` of the mean.
    """
    if rows is None:
        return F.mse_loss(a, b, reduction="sum") / max(1, a.numel())
    difference = torch.where(rows[:, None], a - b, 0.0)  # not a product: 0 * NaN is NaN
    return difference.square().sum() / (RankShare.of(rows, training=training).divisor * a.shape[1])


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.view_as(z_q)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q with the gradient of z_e: dL/dz_e = dL/dz_q (arXiv 1711.00937, section 3.2).

    The usual ``z_e + (z_q - z_e).detach()`` rounds: its value is the code for some elements only. This one's
    value is z_q bit for bit.
    """
    return _StraightThrough.apply(z_e, z_q.detach())  # pyright: ignore[reportReturnType]


def each_vector(tolerance: Tensor, vectors: Tensor) -> Tensor:
    """Return a number of each image, float [B], for each of the vectors [B*h*w*n, D] of them: float [B*h*w*n]."""
    return tolerance.repeat_interleave(len(vectors) // max(1, len(tolerance)))


def positions_of(marked: Tensor, z_e: Tensor) -> Tensor:
    """Return where any of a position's vectors is marked, bool [B, h, w], for a mark of each, bool [B*h*w*n]."""
    return marked.view(len(z_e), *z_e.shape[2:], -1).any(3)
