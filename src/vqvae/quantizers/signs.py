"""A code as the signs of its channels, and the entropies of independent bits: what LFQ and BSQ share."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Advice, NotNegative, Positive, Whole
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.estimators import straight_through
from vqvae.quantizers.losses import RankShare, countable, mean_square
from vqvae.tensors import Quantized


@dataclass(frozen=True, kw_only=True)
class SignConfig(QuantizerConfig):
    """What quantizers to signs have in common."""

    bits: Annotated[Whole, Field(ge=1, le=62)] = 10
    entropy_weight: NotNegative
    diversity: NotNegative = 1.0
    temperature: Positive = 0.01

    def advice(self, key: str) -> Advice:
        """Return how to bring more codes into use."""
        weight = {f"{key}.entropy_weight": f"{max(0.02, 3 * self.entropy_weight):.3g}"}
        return Advice("ask for more even use, or choose fewer bits", weight)


class SignQuantizer(Quantizer):
    """The signs of the channels are the bits of the code; an entropy term spreads the codes (base class).

    With b = ``latents_of(z_e)`` and q(c|b) a product over bits, of probabilities sigmoid(``_logits(b)``)::

        z_q = corners(k)                        straight through
        k   = sum_i 2^i [b_i > 0]
        codebook_loss   = entropy_weight (E[H(q(c|b))] - diversity H(E[q(c|b)]))
        commitment_loss = mean (b - sg[z_q])^2

    In a residual stack each further depth has corners of half the size.

    Args:
        bits: number of bits of a code, 1 to 62; each is the sign of one channel, so K = 2^bits.
        entropy_weight: weight of the entropy term; 0 leaves it out. By default 0.1 for LFQ and 0.01 for BSQ.
        diversity: weight of the entropy of the mean q against the mean entropy of q.
        temperature: temperature T of the distribution q over codes; a larger T makes q more even.
        channel_last: whether z_e is [B, *spatial, bits] instead of [B, bits, *spatial].

    Raises:
        ValueError: for an argument that the ``Config`` would refuse.
    """

    Config: type[SignConfig]
    residual_scale = 0.5

    def __init__(
        self,
        bits: int,
        *,
        entropy_weight: float | None = None,
        diversity: float = SignConfig.diversity,
        temperature: float = SignConfig.temperature,
        channel_last: bool = False,
    ) -> None:
        entropy_weight = self.Config.entropy_weight if entropy_weight is None else entropy_weight
        self.Config.check(bits=bits, entropy_weight=entropy_weight, diversity=diversity, temperature=temperature)
        super().__init__(num_codes=2**bits, channels=bits, channel_last=channel_last)
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature = temperature

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, bits]."""
        return self.quantize_residual(self.latents_of(vectors), mask)

    def quantize_residual(self, residual: Tensor, mask: Tensor | None) -> Quantized:
        """Take the signs of latents or residuals, float32 [N, bits]."""
        bits = residual > 0
        e = self.corners(bits)
        return Quantized(
            z_q=straight_through(residual, e),
            codes=codes_of_bits(bits),
            codebook_loss=self._entropy_loss(residual, countable(residual, mask)),
            commitment_loss=mean_square(residual, e, mask, training=self.training),
        )

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes, int64 [N, 1]: float32 [N, bits]."""
        return self.corners(bits_of_codes(codes, self.channels))

    def corners(self, bits: Tensor) -> Tensor:
        """Return the vectors of bits, bool [N, bits]: +1 where a bit is set, else -1, float32."""
        return bits.float() * 2 - 1

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, bits] could get another code if they moved by the tolerance [N]: bool [N]."""
        return ~(vectors.abs() > tolerance[:, None]).all(1)

    def _entropy_loss(self, latents: Tensor, counted: Tensor) -> Tensor:
        if not self.entropy_weight:
            return latents.new_zeros(())
        share = RankShare.of(counted, training=self.training)
        if self.training and not torch.compiler.is_compiling():
            rows, weights = latents[counted], None
        else:  # in a graph, and under torch.vmap, no shape can depend on values
            rows, weights = torch.where(counted[:, None], latents, 0.0), counted[:, None].float()
        with torch.autocast(latents.device.type, enabled=False):
            logits = self._logits(rows)
            each = weighted(bit_entropy(logits), weights).sum() / share.divisor
            together = self._entropy_of_mean(logits, weights, share)
        return self.entropy_weight * (each - self.diversity * together)

    @abstractmethod
    def _logits(self, latents: Tensor) -> Tensor:
        """Return log q(c_i > 0) - log q(c_i < 0) of each bit, float32 [N, bits], of latents [N, bits]."""

    @abstractmethod
    def _entropy_of_mean(self, logits: Tensor, weights: Tensor | None, share: RankShare) -> Tensor:
        """Return H(E[q]) in nats, scalar.

        Args:
            logits: float32 [N, bits].
            weights: float32 [N, 1], 0 for rows that do not count; None where all count.
            share: of the mean E over the rows of all ranks.
        """


def weighted(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Return rows [N, D] times their weights [N, 1]; None for 1."""
    return rows if weights is None else rows * weights


def codes_of_bits(bits: Tensor) -> Tensor:
    """Return k = sum_i 2^i b_i, int64 [..., 1], of bits, bool [..., n]."""
    return (bits.long() * _powers(bits.shape[-1], bits.device)).sum(-1, keepdim=True)


def bits_of_codes(codes: Tensor, bits: int) -> Tensor:
    """Return whether each bit of a code is set, bool [..., bits], of codes int64 [..., 1]."""
    return codes // _powers(bits, codes.device) % 2 == 1


def _powers(number: int, device: torch.device) -> Tensor:
    return 2 ** torch.arange(number, device=device)  # products and quotients, since ONNX shifts no int64


def bit_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats of bits that are 1 with probability sigmoid(logits): the same shape."""
    # H = -p log p - (1 - p) log(1 - p), where log p = -softplus(-l) and log(1 - p) = -softplus(l)
    p = torch.sigmoid(logits)
    return p * F.softplus(-logits) + (1 - p) * F.softplus(logits)


def entropy(probabilities: Tensor) -> Tensor:
    """Return -sum p log p in nats over all elements, with 0 log 0 = 0: scalar."""
    # 1 instead of 0: its entropy is 0 too, and it has a gradient
    return torch.special.entr(
        torch.where(probabilities > torch.finfo(torch.float32).tiny, probabilities, 1.0)
    ).sum()
