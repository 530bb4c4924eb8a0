"""A quantizer in a file of one's own: all that a new kind needs."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.component import Count
from vqvae.quantizers import Quantizer, QuantizerConfig, mean_square, straight_through
from vqvae.tensors import Quantized


class Ternary(Quantizer):
    """Round each channel to -1, 0 or 1.

    Args:
        dim: number of channels; K is 3^dim.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        kind: Literal["ternary"] = "ternary"
        dim: Count = 4

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "Ternary":
            return Ternary(self.dim)

    def __init__(self, dim: int, *, channel_last: bool = False) -> None:
        self.Config.check(dim=dim)
        super().__init__(num_codes=3**dim, channels=dim, channel_last=channel_last)

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        digits = vectors.detach().nan_to_num().clamp(-1, 1).round().long() + 1
        codes = (digits * 3 ** torch.arange(self.channels, device=digits.device)).sum(1, keepdim=True)
        e = digits.float() - 1
        commitment = mean_square(vectors, e, mask, training=self.training)
        return Quantized(straight_through(vectors, e), codes, vectors.new_zeros(()), commitment)

    def embed_vectors(self, codes: Tensor) -> Tensor:
        return (codes // 3 ** torch.arange(self.channels, device=codes.device) % 3 - 1).float()
