"""Lookup-free quantization: each channel is a bit (MAGVIT-v2, arXiv 2310.05737, section 3.1)."""

import torch
from torch import Tensor, nn

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


class LFQ(nn.Module):
    """The sign of each channel, K = 2^bits codes without a codebook, and an entropy term that spreads them.

    With c in {-1, 1}^bits and q(c|z) = softmax_c(-|z - c|^2 / T), a product over bits::

        z_q = sign(z_e)                         straight through
        k   = sum_i 2^i [z_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|z))] - diversity H(E[q(c|z)]))
        commitment_loss = mean (z_e - sg[z_q])^2

    The entropies are in nats: the first makes each latent choose surely, the second makes the batch use all
    codes. They stand in ``codebook_loss`` since they do what a codebook's loss and revival do elsewhere, keep
    the codes of use, and since the objective adds that term as it is, while it weighs the commitment by beta.
    The entropy of the mean is exact: with the bits in two halves the mean q is one product of matrices, in
    memory K + N sqrt K.

    When to choose it: for very large K (2^12 to 2^20), above all for the prior that follows. ``BSQ`` bounds its
    error and needs no 2^bits numbers.

    Args:
        bits: a code, one a channel.
        entropy_weight: of the entropy term; 0 leaves it out.
        diversity: of the second entropy against the first.
        temperature: T of q(c|z).

    Raises:
        ValueError: for bits below 1 or above 62.
    """

    def __init__(
        self, bits: int, *, entropy_weight: float = 0.1, diversity: float = 1.0, temperature: float = 0.01
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
        latents = vectors_of(z_e, 1)
        codes = codes_of_bits(latents > 0)
        e = signs_of_codes(codes, self.channels)
        return Quantized(
            z_q=map_of(straight_through(latents, e), z_e),
            codes=codes.view(len(z_e), *z_e.shape[2:], 1),
            codebook_loss=self._entropy_loss(latents, rows_that_count(latents, mask)),
            commitment_loss=mean_square(latents, e, rows_of(mask, latents), training=self.training),
        )

    def _entropy_loss(self, latents: Tensor, counted: Tensor) -> Tensor:
        if not self.entropy_weight:
            return latents.new_zeros(())
        share = Share.of(counted, training=self.training)
        latents = latents[counted]
        with torch.autocast(latents.device.type, enabled=False):
            logits = 4 * latents / self.temperature  # |z + 1|^2 - |z - 1|^2 = 4 z
            each = bit_entropy(logits).sum() / share.divisor
            halves = [_joint(part) for part in logits.tensor_split(2, dim=1)]
            together = entropy(share.mean_over_ranks(halves[0].T @ halves[1]))
        return self.entropy_weight * (each - self.diversity * together)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, bits, h, w], of codes, int64 [B, h, w, 1]."""
        return signs_of_codes(codes, self.channels).permute(0, 3, 1, 2)

    def unsure(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        return ~(z_e.float().abs() > tolerance[:, None, None, None]).all(1)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Do nothing: there is no codebook."""
        return {}


def _joint(logits: Tensor) -> Tensor:
    """Return the probabilities of all combinations, [N, 2^n], of independent bits with logits [N, n]."""
    joint = logits.new_ones(len(logits), 1)
    for p in torch.sigmoid(logits).unbind(1):
        joint = torch.cat([joint * (1 - p[:, None]), joint * p[:, None]], dim=1)
    return joint
