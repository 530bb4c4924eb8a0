"""Binary spherical quantization: the corner of a cube in the sphere (arXiv 2406.07548)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.quantizers.bits import bit_entropy, check_bits, codes_of_bits, entropy, signs_of_codes
from vqvae.quantizers.layout import (
    Share,
    map_of,
    mean_square,
    rows_of,
    rows_that_count,
    straight_through,
    vectors_of,
)
from vqvae.tensors import Quantized


class BSQ(nn.Module):
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

    def __init__(
        self, bits: int, *, entropy_weight: float = 0.01, diversity: float = 1.0, temperature: float = 0.01
    ) -> None:
        super().__init__()
        check_bits(bits)
        self.num_codes = 2**bits
        self.codes_per_position = 1
        self.channels = bits
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature = temperature

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, bits, h, w]; positions where mask, bool [B, h, w], is False are in no loss."""
        u = F.normalize(vectors_of(z_e, 1), dim=1, eps=1e-6)
        codes = codes_of_bits(u > 0)
        e = self._corners(codes)
        return Quantized(
            z_q=map_of(straight_through(u, e), z_e),
            codes=codes.view(len(z_e), *z_e.shape[2:], 1),
            codebook_loss=self._entropy_loss(u, rows_that_count(u, mask)),
            commitment_loss=mean_square(u, e, rows_of(mask, u), training=self.training),
        )

    def _corners(self, codes: Tensor) -> Tensor:
        return signs_of_codes(codes, self.channels) / math.sqrt(self.channels)

    def _entropy_loss(self, u: Tensor, counted: Tensor) -> Tensor:
        if not self.entropy_weight:
            return u.new_zeros(())
        share = Share.of(counted, training=self.training)
        u = u[counted]
        logits = 2 * u / math.sqrt(self.channels) / self.temperature  # (c.u with c_i > 0) - (c.u with c_i < 0)
        each = bit_entropy(logits).sum() / share.divisor
        p = share.mean_over_ranks(torch.sigmoid(logits).sum(0))
        together = entropy(torch.stack([p, 1 - p]))
        return self.entropy_weight * (each - self.diversity * together)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, bits, h, w], of codes, int64 [B, h, w, 1]."""
        return self._corners(codes).permute(0, 3, 1, 2)

    def unsure(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        return ~(z_e.float().abs() > tolerance[:, None, None, None]).all(1)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Do nothing: there is no codebook."""
        return {}
