"""The paper's quantizer: a codebook learned by gradient (arXiv 1711.00937, equation 3)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae.component import Advice
from vqvae.quantizers.codebook import CodebookQuantizer, RevivedCodebookConfig
from vqvae.quantizers.layout import Estimator, mean_square, straight_through
from vqvae.quantizers.tracker import CodebookTracker


class VectorQuantizer(CodebookQuantizer):
    """Nearest code, straight-through gradient, and a codebook pulled to the latents by its own loss term.

    With sg the stop of the gradient (equation 3, second and third term)::

        codebook_loss   = mean (sg[z_e] - e)^2
        commitment_loss = mean (z_e - sg[e])^2

    Choose it to follow the paper to the letter; ``EMAQuantizer`` learns faster. When the codebook changes, and
    what masks, NaNs and freezing do, ``CodebookQuantizer`` says.

    Args:
        num_codes: K.
        dim: D, of a code.
        codes_per_position: n, the codes at each position, all from the one codebook; z_e has n*D channels.
        estimator: of the gradient: ``straight_through`` or ``rotation_trick``.
        forwards_per_update: training forwards that one update spans (gradient accumulation).
        revive_every: updates between revivals of dead codes; 0 never revives.
        revive_below: a code is dead below this share of the mean use.
        seed: of the start and the revivals.
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

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = RevivedCodebookConfig.codes_per_position,
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
        self.codebook = nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))

    def _codebook_loss(self, latents: Tensor, codes: Tensor, e: Tensor, counted: Tensor) -> Tensor:
        frozen = self.tracker.frozen[codes]
        return mean_square(torch.where(frozen[:, None], e.detach(), e), latents, counted, training=self.training)
