"""The base class of quantizers that search a codebook: the search, the statistics of a batch, and the tracker."""

from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Advice, Count, CountOrZero, Fraction
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.base import NumCodes, Quantizer, QuantizerConfig
from vqvae.quantizers.estimators import Estimator, EstimatorName, estimator_named, straight_through
from vqvae.quantizers.losses import countable, mean_square
from vqvae.quantizers.nearest import ambiguous_codes, nearest_code
from vqvae.quantizers.reshape import repeat_mask
from vqvae.quantizers.tracker import CodebookTracker
from vqvae.quantizers.update_counter import learns, not_compiled
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
    """What quantizers that revive dead codes have in common."""

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


class CodebookArguments(TypedDict, total=False):
    """The keyword arguments of every ``CodebookQuantizer``; it explains them."""

    codes_per_position: int
    estimator: Estimator
    revive_every: int
    revive_below: float
    forwards_per_update: int
    seed: int
    channel_last: bool


class CodebookQuantizer(Quantizer):
    """Choose the nearest code of a codebook (arXiv 1711.00937, equations 1 to 3); subclasses train the codebook.

    The codebook starts from vectors of the first training batch, unless it was set (``set_codebook``) or loaded.
    In training mode, ``forward`` records which codes were chosen, and ``update``, called once after each optimizer
    step, learns from the records. The codebook never changes between a ``forward`` and its ``update``, so
    ``embed(codes)`` equals ``z_q`` in training too. If a loop never calls ``update``, the next training
    ``forward`` calls it. A batch that activation checkpointing runs twice is recorded once.

    Several ranks learn like one process with all their batches, and their codebooks are bit-equal. In training,
    every rank must call ``forward`` and ``update``, even without latents.

    A latent with a NaN or an infinity gets a code, but enters neither the codebook loss nor a statistic. It shows
    in the commitment loss.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code.
        codes_per_position: number of codes n at each position, all from the one codebook; z_e has n*D channels.
        estimator: how the gradient passes to z_e: ``straight_through`` or ``rotation`` (``rotation_trick``).
        revive_every: number of updates between revivals of dead codes; 0 never revives.
        revive_below: share of the mean use of a code, since the last revival, below which a code is dead. A dead
            code starts again from a vector of the batch.
        forwards_per_update: number of training forwards between two updates (gradient accumulation).
        seed: seed of the start and of the revivals.
        channel_last: whether z_e is [B, *spatial, n*D] instead of [B, n*D, *spatial].

    Raises:
        ValueError: for an argument that the ``Config`` would refuse.
    """

    Config: type[RevivedCodebookConfig]
    residual_scale = 1.0
    codebook: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = RevivedCodebookConfig.codes_per_position,
        estimator: Estimator = straight_through,
        revive_every: int = RevivedCodebookConfig.revive_every,
        revive_below: float = RevivedCodebookConfig.revive_below,
        forwards_per_update: int = 1,
        seed: int = 0,
        channel_last: bool = False,
    ) -> None:
        self.Config.check(
            num_codes=num_codes,
            dim=dim,
            codes_per_position=codes_per_position,
            revive_every=revive_every,
            revive_below=revive_below,
        )
        super().__init__(
            num_codes=num_codes,
            channels=codes_per_position * dim,
            codes_per_position=codes_per_position,
            channel_last=channel_last,
        )
        self.dim = dim
        self.estimator = estimator
        self.tracker = CodebookTracker(
            num_codes,
            seed=seed,
            revive_every=revive_every,
            revive_below=revive_below,
            forwards_per_update=forwards_per_update,
        )

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, n*D]; note them in training mode."""
        latents = self.latents_of(vectors).view(-1, self.dim)
        mask = repeat_mask(mask, self.codes_per_position)
        counted = countable(latents, mask)
        if self.training:
            self._before_the_search(latents, counted)
        codes = nearest_code(latents, self.codebook)  # equation 1
        e = F.embedding(codes, self.codebook)
        if self.training:
            self._after_the_search(latents, codes, counted)
        return Quantized(
            z_q=self.estimator(latents, e).view_as(vectors),  # equation 2
            codes=codes.view(-1, self.codes_per_position),
            codebook_loss=self._codebook_loss(latents.detach(), codes, e, counted),  # equation 3, second term
            # equation 3, third term without beta
            commitment_loss=mean_square(latents, e.detach(), mask, training=self.training),
        )

    def codes_of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the nearest codes, int64 [N, n], of vectors, float32 [N, n*D] (equation 1)."""
        latents = self.latents_of(vectors).view(-1, self.dim)
        return nearest_code(latents, self.codebook).view(-1, self.codes_per_position)

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, n*D], of codes, int64 [N, n]; no gradient reaches the codebook."""
        return F.embedding(codes, self.codebook.detach()).flatten(1)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, n*D] could get another code if they moved by the tolerance [N]: bool [N]."""
        each = tolerance.repeat_interleave(self.codes_per_position)
        marked = ambiguous_codes(vectors.view(-1, self.dim), self.codebook, each)
        return marked.view(-1, self.codes_per_position).any(1)

    @torch.no_grad()
    def set_codebook(self, codebook: Tensor) -> None:
        """Take these vectors as the codebook. Training goes on from them: the first batch does not replace them.

        Earlier records are discarded, and the statistics start again.

        Args:
            codebook: float [K, D].

        Raises:
            ValueError: for another shape.
        """
        if codebook.shape != self.codebook.shape:
            raise ValueError(f"codebook {list(codebook.shape)}: expected {list(self.codebook.shape)}")
        self.codebook.copy_(codebook)
        self._start_here()

    def freeze(self, codes: Tensor | None = None) -> None:
        """Let nothing move some codes any more.

        Which codes are frozen is part of the state. An optimizer with weight decay, or with momentum from earlier
        steps, also moves parameters without a gradient: leave a learned codebook out of it.

        Args:
            codes: int64 [R], or bool [K]; None freezes the whole codebook.
        """
        self.tracker.frozen[slice(None) if codes is None else codes] = True

    @torch.no_grad()
    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Learn from the recorded batches and revive dead codes; without records, do nothing.

        Returns:
            ``revived``, the number of codes that start again.
        """
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

    @not_compiled
    def _before_the_search(self, latents: Tensor, counted: Tensor) -> None:
        if not learns(self):
            return
        if self.tracker.due:
            self.update()
        if not self.tracker.started and self.tracker.start(self.codebook, latents.detach()[counted]):
            self._restart(~self.tracker.frozen)

    @not_compiled
    def _after_the_search(self, latents: Tensor, codes: Tensor, counted: Tensor) -> None:
        if learns(self):
            self.tracker.note(latents, codes, counted)

    @torch.no_grad()
    def begin_again(self, codes: Tensor) -> None:
        """Begin the statistics of codes, int64 [R], anew, and the count of use since the last revival of all."""
        placed = self.codebook.clone()
        self._restart(codes)
        self.codebook.copy_(placed)  # to the bit: copies stay equal to their codes
        self.tracker.recent.zero_()

    def _start_here(self) -> None:
        self._restart(torch.ones_like(self.tracker.frozen))
        self.tracker.recent.zero_()
        self.tracker.started.fill_(True)
        self.tracker.forget()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        # a codebook from elsewhere, loaded with strict=False, without our tracker's state
        if f"{prefix}codebook" in state_dict and f"{prefix}tracker.started" not in state_dict:
            with torch.no_grad():
                self._start_here()

    def _codebook_loss(self, latents: Tensor, codes: Tensor, e: Tensor, counted: Tensor) -> Tensor:
        """Return the loss that trains the codebook by gradient; 0 where no gradient trains it."""
        return latents.new_zeros(())

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        """Move the codebook to latents [N, D] that chose codes [N]; n, int64 [K], is how often on all ranks."""

    def _restart(self, codes: Tensor) -> None:
        """Reset the statistics of codes, int64 [R] or bool [K], after the codes were set."""


def initial_codebook(num_codes: int, dim: int) -> Tensor:
    """Draw codes, float32 [K, D], uniformly from [-1/K, 1/K]."""
    return torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes)
