"""What quantizers with a codebook of their own share: the search, the notes of a batch, and the tracker."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Advice, Count, CountOrZero, Fraction
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.base import NumCodes, QuantizerConfig
from vqvae.quantizers.float32 import KeepFloat32
from vqvae.quantizers.layout import (
    Estimator,
    each_vector,
    embed_codes,
    map_of,
    mean_square,
    positions_of,
    rows_of,
    rows_that_count,
    vectors_of,
)
from vqvae.quantizers.nearest import ambiguous_codes, nearest_code
from vqvae.quantizers.rotation import EstimatorName, estimator_named
from vqvae.quantizers.tracker import CodebookTracker
from vqvae.quantizers.update_counter import learns
from vqvae.tensors import Quantized


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(QuantizerConfig):
    """What quantizers that look up the nearest code have in common."""

    num_codes: NumCodes = 512
    dim: Count = 64
    codes_per_position: Count = 1
    estimator: EstimatorName = "straight_through"

    def arguments(self) -> dict[str, Any]:
        """Return the settings as the quantizer takes them."""
        return {**self.settings(), "estimator": estimator_named(self.estimator)}


@dataclass(frozen=True, kw_only=True)
class RevivedCodebookConfig(CodebookConfig):
    """What those that revive dead codes have in common."""

    revive_every: CountOrZero = 20
    revive_below: Fraction = 0.05

    def advice(self, key: str) -> Advice:
        """Return how to bring more codes into use."""
        if not self.revive_every:
            return Advice("revive dead codes", {f"{key}.revive_every": "20"})
        if self.revive_below < 0.3:
            return Advice("revive codes sooner", {f"{key}.revive_below": "0.3"})
        if self.dim > 8:
            return Advice("compare in fewer dimensions", {f"{key}.dim": str(max(4, self.dim // 4))})
        return Advice("ask for fewer codes", {f"{key}.num_codes": str(max(2, self.num_codes // 2))})


class CodebookQuantizer(KeepFloat32):
    """Nearest code and its embedding (arXiv 1711.00937, equations 1 to 3); a subclass says what moves the codes.

    ``forward`` in training mode notes which codes were chosen; ``update``, once an optimizer step, applies
    what was noted. The codebook never changes between a ``forward`` and its ``update``, so ``embed(codes)``
    equals ``z_q`` in training too. A loop that never calls ``update`` gets it at the next training ``forward``.
    A batch that activation checkpointing runs twice is noted once.

    Several ranks learn as one process would from all their batches, and hold the same codebook to the bit: in
    training every rank must call, one without latents too.

    A latent with a NaN or an infinity gets a code but enters neither the codebook's loss nor any statistic; it
    shows in the commitment loss.

    Args:
        num_codes: K.
        codes_per_position: n.
        dim: D.
        estimator: of the gradient.
        tracker: starts the codebook, revives and freezes codes.
    """

    codebook: Tensor

    def __init__(
        self, num_codes: int, codes_per_position: int, dim: int, estimator: Estimator, tracker: CodebookTracker
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.codes_per_position = codes_per_position
        self.channels = codes_per_position * dim
        self.estimator = estimator
        self.tracker = tracker

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, n*D, h, w]; positions where mask, bool [B, h, w], is False count for nothing."""
        latents = self.latents_of(z_e)
        counted = rows_that_count(latents, mask)
        if learns(self):
            if self.tracker.due:
                self.update()
            if not self.tracker.started and self.tracker.start(self.codebook, latents.detach()[counted]):
                self._restart(~self.tracker.frozen)
        codes = nearest_code(latents, self.codebook)  # equation 1
        e = F.embedding(codes, self.codebook)
        if learns(self):
            self.tracker.note(latents, codes, counted)
        return Quantized(
            z_q=map_of(self.estimator(latents, e), z_e),  # equation 2
            codes=codes.view(len(z_e), *z_e.shape[2:], self.codes_per_position),
            codebook_loss=self._codebook_loss(latents.detach(), codes, e, counted),  # equation 3, second term
            # equation 3, third term without beta
            commitment_loss=mean_square(latents, e.detach(), rows_of(mask, latents), training=self.training),
        )

    def latents_of(self, z_e: Tensor) -> Tensor:
        """Return the vectors that are compared with codes, float32 [B*h*w*n, D]."""
        return vectors_of(z_e, self.codes_per_position)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float [B, n*D, h, w], of codes, int64 [B, h, w, n]; no gradient reaches the codebook."""
        return embed_codes(codes, self.codebook.detach())

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        latents = self.latents_of(z_e)
        return positions_of(ambiguous_codes(latents, self.codebook, each_vector(tolerance, latents)), z_e)

    def freeze(self, codes: Tensor | None = None) -> None:
        """Let nothing move these codes, int64 [R] or bool [K], any more; None: the whole codebook.

        What is frozen is saved with the state. An optimizer with weight decay, or with momentum from before,
        also moves what has no gradient: leave a learned codebook out of both.
        """
        self.tracker.frozen[slice(None) if codes is None else codes] = True

    @torch.no_grad()
    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Learn from what was noted and revive dead codes; nothing noted, nothing done. Returns ``revived``."""
        noted = self.tracker.take()
        if noted is None or self.tracker.frozen.all():
            return {}
        latents, codes = noted
        n = sum_over_ranks(torch.bincount(codes, minlength=self.num_codes))
        if not n.any():  # empty, or masked throughout, on every rank
            return {}
        self.tracker.count(n)
        self._learn(latents, codes, n)
        if not revive:
            return {}
        dead, restart = self.tracker.revivals(latents)
        self.codebook[dead] = restart
        self._restart(dead)
        return {"revived": torch.tensor(len(dead))}

    def _codebook_loss(self, latents: Tensor, codes: Tensor, e: Tensor, counted: Tensor) -> Tensor:
        """Return the loss that trains the codebook by gradient; 0 where none does."""
        return latents.new_zeros(())

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        """Move the codebook to latents [N, D] that chose codes [N], n int64 [K] of them each on all ranks."""

    def _restart(self, codes: Tensor) -> None:
        """Forget the past of codes, int64 [R] or bool [K], that have just been placed anew."""
