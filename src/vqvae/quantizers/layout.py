"""Between feature maps [B, n*D, h, w] and lists of vectors [B*h*w*n, D], and the gradient's straight way."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def vectors_of(z: Tensor, codes_per_position: int) -> Tensor:
    """Return the vectors of a map, float32 [B*h*w*n, D], the codes of a position side by side."""
    channels_last = z.permute(0, 2, 3, 1)
    return channels_last.reshape(-1, z.shape[1] // codes_per_position).float()


def embed_codes(codes: Tensor, codebook: Tensor) -> Tensor:
    """Return the map of codes, float [B, n*D, h, w], for codes int64 [B, h, w, n] and a codebook [K, D]."""
    return F.embedding(codes, codebook).flatten(3).permute(0, 3, 1, 2)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q with the gradient of z_e: dL/dz_e = dL/dz_q (arXiv 1711.00937, section 3.2).

    The usual ``z_e + (z_q - z_e).detach()`` rounds: its value is the code for some elements only. This one's
    value is z_q bit for bit.
    """
    return _StraightThrough.apply(z_e, z_q.detach())  # pyright: ignore[reportReturnType]
