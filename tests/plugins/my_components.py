"""A user's own components, in a file of their own: no file of the package knows them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from vqvae.component import Count
from vqvae.priors import Prior, PriorModelConfig
from vqvae.priors.base import CodeEmbedding, CodeHead
from vqvae.quantizers import Quantizer, QuantizerConfig
from vqvae.tensors import Quantized


class Ternary(Quantizer):
    """Each channel becomes -1, 0 or 1: 3^D codes.

    Args:
        dim: D.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["ternary"] = "ternary"
        dim: Count = 3

        def build(self, *, forwards_per_update=1, seed=0):
            """Make the quantizer."""
            return Ternary(self.dim)

    def __init__(self, dim=Config.dim):
        super().__init__(num_codes=3**dim, channels=dim)
        self.register_buffer("place", 3 ** torch.arange(dim), persistent=False)

    def quantize_vectors(self, vectors, mask):
        """Round each channel; the gradient goes straight through."""
        digits = vectors.detach().clamp(-1, 1).round()
        error = (vectors - digits).square().mean(1)
        loss = error.mean() if mask is None else error[mask].sum() / max(1, int(mask.sum()))
        codes = ((digits.long() + 1) * self.place).sum(1, keepdim=True)
        return Quantized(vectors + (digits - vectors).detach(), codes, torch.zeros_like(loss), loss)

    def embed_vectors(self, codes):
        """Return the digits of codes."""
        return (codes // self.place % 3 - 1).float()


class Markov(Prior):
    """Each position is drawn given the position before it and the class alone.

    Args:
        spec: of the codes.
        num_classes: of labels.
        width: channels.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PriorModelConfig):
        """Settings of the class."""

        kind: Literal["markov"] = "markov"
        width: Count = 16

        def build(self, spec, *, num_classes=0):
            """Make the prior."""
            return Markov(spec, num_classes=num_classes, width=self.width)

    def __init__(self, spec, *, num_classes=0, width=Config.width):
        super().__init__(spec, num_classes=num_classes)
        self.embedding = CodeEmbedding(spec, width)
        self.classes = nn.Embedding(num_classes + 1, width)
        self.mix = nn.Linear(width, width)
        self.head = CodeHead(spec, width, 32)

    def features(self, codes, labels):
        """Return the mixed embedding of the position before each."""
        embedded = self.embedding(codes).flatten(1, 2)
        before = nn.functional.pad(embedded, (0, 0, 1, 0))[:, :-1]
        return self.mix(before + self.classes(labels)[:, None]).view(*codes.shape[:3], -1)
