"""Lookup-free quantization: each channel is a bit (MAGVIT-v2, arXiv 2310.05737, section 3.1)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.component import NotNegative
from vqvae.quantizers.losses import RankShare
from vqvae.quantizers.signs import SignConfig, SignQuantizer, entropy, weighted


class LFQ(SignQuantizer):
    """The signs of the channels are the bits of the code; an entropy term spreads the codes. There is no codebook.

    With c in {-1, 1}^bits and q(c|z) = softmax_c(-|z - c|^2 / T), a product over bits::

        z_q = sign(z_e)                         straight through
        k   = sum_i 2^i [z_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|z))] - diversity H(E[q(c|z)]))
        commitment_loss = mean (z_e - sg[z_q])^2

    The entropies are in nats. The first entropy makes the choice of each latent certain; the second makes the
    batch use all codes. They are the ``codebook_loss`` for two reasons. Like the codebook loss and the revival of
    other quantizers, they keep the codes in use. And the objective adds ``codebook_loss`` without a factor, but
    multiplies the commitment loss by beta. The entropy of the mean is exact: the bits are split into two halves,
    and the mean q is one product of matrices, which takes memory for K + N sqrt K numbers.

    When to choose it: for a very large K (2^12 to 2^20). ``BSQ`` has a bounded error and does not need 2^bits
    numbers.

    Args: those of ``SignQuantizer``: bits, entropy_weight, diversity, temperature, channel_last.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(SignConfig):
        """Settings of the class."""

        kind: Literal["lfq"] = "lfq"
        entropy_weight: NotNegative = 0.1

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "LFQ":
            """Make the quantizer."""
            return LFQ(**self.settings())

    def _logits(self, latents: Tensor) -> Tensor:
        return 4 * latents / self.temperature  # |z + 1|^2 - |z - 1|^2 = 4 z

    def _entropy_of_mean(self, logits: Tensor, weights: Tensor | None, share: RankShare) -> Tensor:
        low, high = (_joint(part) for part in logits.tensor_split(2, dim=1))
        return entropy(share.mean_over_ranks(weighted(low, weights).T @ high))


def _joint(logits: Tensor) -> Tensor:
    """Return the probabilities of all combinations, [N, 2^n], of independent bits with logits [N, n]."""
    joint = logits.new_ones(logits.shape[0], 1)
    for p in torch.sigmoid(logits).unbind(1):
        joint = torch.cat([joint * (1 - p[:, None]), joint * p[:, None]], dim=1)
    return joint
