"""A code as the signs of its channels, and the entropies of independent bits: what LFQ and BSQ share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice, NotNegative, Positive
from vqvae.quantizers.base import QuantizerConfig
from vqvae.quantizers.layout import (
    RankShare,
    map_of,
    mean_square,
    rows_of,
    rows_that_count,
    straight_through,
    vectors_of,
)
from vqvae.tensors import Quantized


@dataclass(frozen=True, kw_only=True)
class SignConfig(QuantizerConfig):
    """What quantizers to bits have in common."""

    bits: Annotated[int, Field(ge=1, le=62)] = 10
    entropy_weight: NotNegative
    diversity: NotNegative = 1.0
    temperature: Positive = 0.01

    def advice(self, key: str) -> Advice:
        """Return how to bring more codes into use."""
        weight = {f"{key}.entropy_weight": f"{max(0.02, 3 * self.entropy_weight):.3g}"}
        return Advice("ask for more even use, or choose fewer bits", weight)


class SignQuantizer(nn.Module, ABC):
    """The sign of each channel as a bit, and an entropy term; a subclass has its paper's formulas.

    With b = ``latents_of(z_e)`` and q(c|b) a product over bits, of probabilities sigmoid(``_logits(b)``)::

        z_q = corners(k)                        straight through
        k   = sum_i 2^i [b_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|b))] - diversity H(E[q(c|b)]))
        commitment_loss = mean (b - sg[z_q])^2

    Args:
        bits: a code, one a channel.
        entropy_weight: of the entropy term; 0 leaves it out.
        diversity: of the second entropy against the first.
        temperature: T of q.

    Raises:
        ValueError: for bits below 1 or above 62.
    """

    def __init__(self, bits: int, entropy_weight: float, diversity: float, temperature: float) -> None:
        super().__init__()
        if not 1 <= bits <= 62:
            raise ValueError(f"bits {bits}: expected 1 to 62, what a code in int64 holds")
        self.num_codes = 2**bits
        self.codes_per_position = 1
        self.channels = bits
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature = temperature

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, bits, h, w]; positions where mask, bool [B, h, w], is False are in no loss."""
        latents = self.latents_of(z_e)
        codes = codes_of_bits(latents > 0)
        e = self.corners(codes)
        return Quantized(
            z_q=map_of(straight_through(latents, e), z_e),
            codes=codes.view(len(z_e), *z_e.shape[2:], 1),
            codebook_loss=self._entropy_loss(latents, rows_that_count(latents, mask)),
            commitment_loss=mean_square(latents, e, rows_of(mask, latents), training=self.training),
        )

    def latents_of(self, z_e: Tensor) -> Tensor:
        """Return the vectors whose signs are the bits, float32 [B*h*w, bits]."""
        return vectors_of(z_e, 1)

    def corners(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, int64 [..., 1]: float32 [..., bits]."""
        return signs_of_codes(codes, self.channels)

    def _entropy_loss(self, latents: Tensor, counted: Tensor) -> Tensor:
        if not self.entropy_weight:
            return latents.new_zeros(())
        share = RankShare.of(counted, training=self.training)
        with torch.autocast(latents.device.type, enabled=False):
            logits = self._logits(latents[counted])
            each = bit_entropy(logits).sum() / share.divisor
            together = self._entropy_of_mean(logits, share)
        return self.entropy_weight * (each - self.diversity * together)

    @abstractmethod
    def _logits(self, latents: Tensor) -> Tensor:
        """Return log q(c_i > 0) - log q(c_i < 0) of each bit, float32 [N, bits], of latents [N, bits]."""

    @abstractmethod
    def _entropy_of_mean(self, logits: Tensor, share: RankShare) -> Tensor:
        """Return H(E[q]) in nats, scalar, the mean being over all ranks' rows; logits are this rank's."""

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, bits, h, w], of codes, int64 [B, h, w, 1]."""
        return self.corners(codes).permute(0, 3, 1, 2)

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        return ~(z_e.float().abs() > tolerance[:, None, None, None]).all(1)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Do nothing: there is no codebook."""
        return {}


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
