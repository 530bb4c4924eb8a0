"""The codebook as running means of what chose each code (arXiv 1711.00937, appendix A.1)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.component import Fraction
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.codebook import CodebookQuantizer, RevivedCodebookConfig
from vqvae.quantizers.layout import Estimator, straight_through
from vqvae.quantizers.tracker import CodebookTracker


class EMAQuantizer(CodebookQuantizer):
    """Nearest code, straight-through gradient, and a codebook of exponential moving averages.

    With n_i vectors z_ij of the batch at code i (appendix A.1, equations 6 to 8)::

        N_i <- gamma N_i + (1 - gamma) n_i
        m_i <- gamma m_i + (1 - gamma) sum_j z_ij
        e_i <- m_i / N_i

    It replaces the codebook loss, which is 0 here. When to choose it: nearly always; it is online k-means, needs
    no learning rate, and keeps more codes in use than the gradient. The codebook changes in ``update`` alone,
    as ``CodebookQuantizer`` explains.

    Args:
        num_codes: K.
        dim: D, of a code.
        codes_per_position: n, the codes at each position, all from the one codebook; z_e has n*D channels.
        decay: gamma, in [0, 1).
        estimator: of the gradient: ``straight_through`` or ``rotation_trick``.
        forwards_per_update: training forwards that one update spans (gradient accumulation).
        revive_every: updates between revivals of dead codes; 0 never revives.
        revive_below: a code is dead below this share of the mean use.
        seed: of the start and the revivals.
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
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = RevivedCodebookConfig.codes_per_position,
        decay: float = Config.decay,
        estimator: Estimator = straight_through,
        forwards_per_update: int = 1,
        revive_every: int = RevivedCodebookConfig.revive_every,
        revive_below: float = RevivedCodebookConfig.revive_below,
        seed: int = 0,
    ) -> None:
        tracker = CodebookTracker(
            num_codes,
            seed=seed,
            revive_every=revive_every,
            revive_below=revive_below,
            forwards_per_update=forwards_per_update,
        )
        super().__init__(num_codes, codes_per_position, dim, estimator, tracker)
        self.decay = decay
        self.register_buffer("codebook", torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codebook.clone())

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        z = sum_over_ranks(torch.zeros_like(self.sums).index_add_(0, codes, latents))
        weight = (1 - self.decay) * ~self.tracker.frozen
        self.counts.lerp_(n.float(), weight)  # equation 6
        self.sums.lerp_(z, weight[:, None])  # equation 7
        # equation 8; an unused code's N and m shrink alike and leave e where it is, so it is not divided anew:
        # after thousands of such steps both underflow
        moved = (n > 0) & ~self.tracker.frozen
        self.codebook.copy_(torch.where(moved[:, None], self.sums / self.counts[:, None], self.codebook))

    def _restart(self, codes: Tensor) -> None:
        # codebook, counts and sums change together, or stale sums would pull a revived code back to its grave
        self.counts[codes] = 1.0
        self.sums[codes] = self.codebook[codes]
