"""The paper's quantizer: a codebook learned by gradient (arXiv 1711.00937, equation 3)."""

from dataclasses import dataclass
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from vqvae.component import Advice
from vqvae.quantizers.codebook import (
    CodebookArguments,
    CodebookQuantizer,
    RevivedCodebookConfig,
    initial_codebook,
)
from vqvae.quantizers.losses import mean_square


class VectorQuantizer(CodebookQuantizer):
    """Choose the nearest code; a loss term trains the codebook (arXiv 1711.00937, equation 3).

    With sg the stop of the gradient (equation 3, second and third term)::

        codebook_loss   = mean (sg[z_e] - e)^2
        commitment_loss = mean (z_e - sg[e])^2

    When to choose it: to follow the paper to the letter; ``EMAQuantizer`` learns faster. ``CodebookQuantizer``
    explains when the codebook changes, and what masks, NaNs and freezing do.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code.
        others: the keyword arguments of ``CodebookQuantizer``: codes_per_position, estimator, revive_every,
            revive_below, forwards_per_update, seed, channel_last.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(RevivedCodebookConfig):
        """Settings of the class."""

        kind: Literal["vq"] = "vq"

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "VectorQuantizer":
            """Make the quantizer."""
            return VectorQuantizer(**self.arguments(), forwards_per_update=forwards_per_update, seed=seed)

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            if self.revive_every:
                return Advice("let running means move the codes", {f"{key}.kind": "ema"})
            return super().advice(key)

    def __init__(self, num_codes: int, dim: int, **others: Unpack[CodebookArguments]) -> None:
        super().__init__(num_codes, dim, **others)
        self.codebook = nn.Parameter(initial_codebook(num_codes, dim))

    def _codebook_loss(self, latents: Tensor, codes: Tensor, e: Tensor, counted: Tensor) -> Tensor:
        frozen = self.tracker.frozen[codes]
        return mean_square(torch.where(frozen[:, None], e.detach(), e), latents, counted, training=self.training)
