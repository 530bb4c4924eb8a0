"""Codes as bits, and the entropies of independent bits: what LFQ and BSQ share."""

import torch
from torch import Tensor
from torch.nn import functional as F


def check_bits(bits: int) -> None:
    """Refuse a number of bits that int64 codes cannot hold.

    Raises:
        ValueError: below 1 or above 62.
    """
    if not 1 <= bits <= 62:
        raise ValueError(f"bits {bits}: expected 1 to 62, what a code in int64 holds")


def codes_of_bits(bits: Tensor) -> Tensor:
    """Return k = sum_i 2^i b_i, int64 [..., 1], of bits, bool [..., n]."""
    return (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1, keepdim=True)


def signs_of_codes(codes: Tensor, bits: int) -> Tensor:
    """Return +1 where a bit of a code is set, -1 where it is not, float32 [..., bits], of codes int64 [..., 1]."""
    return (codes >> torch.arange(bits, device=codes.device) & 1).float() * 2 - 1


def bit_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats of bits that are 1 with probability sigmoid(logits): the same shape."""
    # H = -p log p - (1 - p) log(1 - p), where log p = -softplus(-l) and log(1 - p) = -softplus(l)
    p = torch.sigmoid(logits)
    return p * F.softplus(-logits) + (1 - p) * F.softplus(logits)


def entropy(probabilities: Tensor) -> Tensor:
    """Return -sum p log p in nats over all elements, 0 log 0 being 0: scalar."""
    # 1 for what is 0: it adds nothing either, and has a gradient
    return torch.special.entr(
        torch.where(probabilities > torch.finfo(torch.float32).tiny, probabilities, 1.0)
    ).sum()
