"""Binary spherical quantization: the corner of a cube in the sphere (arXiv 2406.07548)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import NotNegative
from vqvae.quantizers.losses import RankShare
from vqvae.quantizers.signs import SignConfig, SignQuantizer, entropy, weighted


class BSQ(SignQuantizer):
    """Normalise z_e to length one; the signs of the channels are the bits of the code. There is no codebook.

    With u = z_e / |z_e| and q(c|u) = softmax_c(c.u / T), a product over bits::

        z_q = sign(u) / sqrt(bits)              straight through
        k   = sum_i 2^i [u_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|u))] - diversity sum_i H(E[q(c_i|u)]))
        commitment_loss = mean (u - sg[z_q])^2

    The entropies, in nats, are the ``codebook_loss`` for the reasons that ``LFQ`` gives. The second entropy is the
    paper's approximation: it treats bits as independent, so no tensor has 2^bits elements. The error is bounded,
    ``|u - z_q|^2 < 2 - 2 / sqrt(bits)``, so the paper has no commitment loss; beta 0 omits it.

    When to choose it: like ``LFQ``, with more bits (18 to 36).

    Args: those of ``SignQuantizer``: bits, entropy_weight, diversity, temperature, channel_last.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(SignConfig):
        """Settings of the class."""

        kind: Literal["bsq"] = "bsq"
        entropy_weight: NotNegative = 0.01

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "BSQ":
            """Make the quantizer."""
            return BSQ(**self.settings())

    def latents_of(self, vectors: Tensor) -> Tensor:
        """Return the vectors at length one, float32 [N, bits]."""
        return F.normalize(vectors, dim=1, eps=1e-6)

    def latent_tolerance(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Return how far the vectors at length one may move, float32 [N]."""
        # |x/|x| - y/|y|| <= 2 |x - y| / (|x| + |y|), and |y| >= |x| - tolerance; 1e-6 for rounding
        lengths = 2 * vectors.norm(dim=1) - tolerance
        return torch.where(lengths > 1e-6, 2 * tolerance / lengths + 1e-6, torch.inf)

    def corners(self, bits: Tensor) -> Tensor:
        """Return the vectors of bits, bool [N, bits], of length one: float32."""
        return super().corners(bits) / math.sqrt(self.channels)

    def _logits(self, latents: Tensor) -> Tensor:
        # (c.u with c_i > 0) - (c.u with c_i < 0)
        return 2 * latents / math.sqrt(self.channels) / self.temperature

    def _entropy_of_mean(self, logits: Tensor, weights: Tensor | None, share: RankShare) -> Tensor:
        p = share.mean_over_ranks(weighted(torch.sigmoid(logits), weights).sum(0))
        return entropy(torch.stack([p, 1 - p]))
