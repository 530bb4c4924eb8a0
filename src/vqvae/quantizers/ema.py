"""The codebook as running means of what chose each code (arXiv 1711.00937, appendix A.1)."""

from dataclasses import dataclass
from typing import Literal, Unpack

import torch
from torch import Tensor

from vqvae.component import Fraction
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.codebook import (
    CodebookArguments,
    CodebookQuantizer,
    RevivedCodebookConfig,
    initial_codebook,
)


class EMAQuantizer(CodebookQuantizer):
    """Choose the nearest code; a code is the moving average of the latents that choose it.

    With n_i vectors z_ij of the batch at code i (appendix A.1, equations 6 to 8)::

        N_i <- gamma N_i + (1 - gamma) n_i
        m_i <- gamma m_i + (1 - gamma) sum_j z_ij
        e_i <- m_i / N_i

    The running means replace the codebook loss, which is 0. When to choose it: nearly always. It is online
    k-means, needs no learning rate, and keeps more codes in use than the gradient. The codebook changes in
    ``update`` alone, as ``CodebookQuantizer`` explains.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code.
        decay: decay gamma of the running means, in [0, 1).
        others: the keyword arguments of ``CodebookQuantizer``: codes_per_position, estimator, revive_every,
            revive_below, forwards_per_update, seed, channel_last.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(RevivedCodebookConfig):
        """Settings of the class."""

        kind: Literal["ema"] = "ema"
        decay: Fraction = 0.99

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "EMAQuantizer":
            """Make the quantizer."""
            return EMAQuantizer(**self.arguments(), forwards_per_update=forwards_per_update, seed=seed)

    counts: Tensor
    sums: Tensor

    def __init__(
        self, num_codes: int, dim: int, *, decay: float = Config.decay, **others: Unpack[CodebookArguments]
    ) -> None:
        self.Config.check(decay=decay)
        super().__init__(num_codes, dim, **others)
        self.decay = decay
        self.register_buffer("codebook", initial_codebook(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codebook.clone())

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        z = sum_over_ranks(torch.zeros_like(self.sums).index_add_(0, codes, latents))
        weight = (1 - self.decay) * ~self.tracker.frozen
        self.counts.lerp_(n.float(), weight)  # equation 6
        self.sums.lerp_(z, weight[:, None])  # equation 7
        # equation 8; N and m of an unused code shrink by the same factor, so e does not change. e is not divided
        # again, since N and m underflow after thousands of such steps
        moved = (n > 0) & ~self.tracker.frozen
        self.codebook.copy_(torch.where(moved[:, None], self.sums / self.counts[:, None], self.codebook))

    def _restart(self, codes: Tensor) -> None:
        # codebook, counts and sums change together, or stale sums would pull a revived code back to its old place
        self.counts[codes] = 1.0
        self.sums[codes] = self.codebook[codes]
