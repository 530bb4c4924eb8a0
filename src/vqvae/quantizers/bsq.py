"""Binary spherical quantization: the corner of a cube in the sphere (arXiv 2406.07548)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import NotNegative
from vqvae.quantizers.bits import SignConfig, SignQuantizer, entropy
from vqvae.quantizers.layout import RankShare


class BSQ(SignQuantizer):
    """Latents of length one, each channel's sign of length 1/sqrt(bits), K = 2^bits codes without a codebook.

    With u = z_e / |z_e| and q(c|u) = softmax_c(c.u / T), a product over bits::

        z_q = sign(u) / sqrt(bits)              straight through
        k   = sum_i 2^i [u_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|u))] - diversity sum_i H(E[q(c_i|u)]))
        commitment_loss = mean (u - sg[z_q])^2

    The entropies, in nats, stand in ``codebook_loss`` for the reasons that ``LFQ`` gives. The second is the
    paper's approximation, bits taken as independent, so nothing here has 2^bits elements. The error is bounded,
    ``|u - z_q|^2 < 2 - 2 / sqrt(bits)``, so the paper needs no commitment; beta 0 leaves it out.

    When to choose it: as ``LFQ``, with more bits (18 to 36), and where latents of one length are welcome.

    Args:
        bits: a code, one a channel.
        entropy_weight: of the entropy term; 0 leaves it out.
        diversity: of the second entropy against the first.
        temperature: T of q(c|u).

    Raises:
        ValueError: for bits below 1 or above 62.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(SignConfig):
        """Settings of the class."""

        kind: Literal["bsq"] = "bsq"
        entropy_weight: NotNegative = 0.01

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "BSQ":
            """Make the quantizer."""
            return BSQ(**self.settings())

    def __init__(
        self,
        bits: int,
        *,
        entropy_weight: float = Config.entropy_weight,
        diversity: float = SignConfig.diversity,
        temperature: float = SignConfig.temperature,
    ) -> None:
        super().__init__(bits, entropy_weight, diversity, temperature)

    def latents_of(self, z_e: Tensor) -> Tensor:
        """Return the vectors of z_e at length one, float32 [B*h*w, bits]."""
        return F.normalize(super().latents_of(z_e), dim=1, eps=1e-6)

    def corners(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, int64 [..., 1], of length one: float32 [..., bits]."""
        return super().corners(codes) / math.sqrt(self.channels)

    def _logits(self, latents: Tensor) -> Tensor:
        # (c.u with c_i > 0) - (c.u with c_i < 0)
        return 2 * latents / math.sqrt(self.channels) / self.temperature

    def _entropy_of_mean(self, logits: Tensor, share: RankShare) -> Tensor:
        p = share.mean_over_ranks(torch.sigmoid(logits).sum(0))
        return entropy(torch.stack([p, 1 - p]))
