"""Lookup-free quantization: each channel is a bit (MAGVIT-v2, arXiv 2310.05737, section 3.1)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.component import NotNegative
from vqvae.quantizers.bits import SignConfig, SignQuantizer, entropy
from vqvae.quantizers.layout import RankShare


class LFQ(SignQuantizer):
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

    @dataclass(frozen=True, kw_only=True)
    class Config(SignConfig):
        """Settings of the class."""

        kind: Literal["lfq"] = "lfq"
        entropy_weight: NotNegative = 0.1

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "LFQ":
            """Make the quantizer."""
            return LFQ(**self.settings())

    def __init__(
        self,
        bits: int,
        *,
        entropy_weight: float = Config.entropy_weight,
        diversity: float = SignConfig.diversity,
        temperature: float = SignConfig.temperature,
    ) -> None:
        super().__init__(bits, entropy_weight, diversity, temperature)

    def _logits(self, latents: Tensor) -> Tensor:
        return 4 * latents / self.temperature  # |z + 1|^2 - |z - 1|^2 = 4 z

    def _entropy_of_mean(self, logits: Tensor, share: RankShare) -> Tensor:
        halves = [_joint(part) for part in logits.tensor_split(2, dim=1)]
        return entropy(share.mean_over_ranks(halves[0].T @ halves[1]))


def _joint(logits: Tensor) -> Tensor:
    """Return the probabilities of all combinations, [N, 2^n], of independent bits with logits [N, n]."""
    joint = logits.new_ones(len(logits), 1)
    for p in torch.sigmoid(logits).unbind(1):
        joint = torch.cat([joint * (1 - p[:, None]), joint * p[:, None]], dim=1)
    return joint
