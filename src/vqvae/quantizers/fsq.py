"""Finite scalar quantization: each channel rounded to a few levels (arXiv 2309.15505)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from vqvae.component import Advice, Whole
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.estimators import straight_through
from vqvae.tensors import Quantized

# the outermost levels are reached at a finite z; the paper subtracts it, and loses these levels from L = 1001 on
_EPS = 1e-3


def _countable(levels: tuple[int, ...]) -> tuple[int, ...]:
    if prod(levels) >= 2**63:
        raise ValueError("their product must be below 2^63, so that codes fit into int64")
    return levels


Levels = Annotated[tuple[Annotated[Whole, Field(ge=3)], ...], Field(min_length=1), AfterValidator(_countable)]


class FSQ(Quantizer):
    """Bound each channel and round it to one of L_i levels; the combinations of levels are the codes.

    With L the number of levels of a channel (section 3.1 and appendix A)::

        f(z) = tanh(z + s) (L - 1) / 2 - o      o = 1/2 for even L, else 0; s such that f(0) = 0
        z_q  = round(f(z)) / floor(L / 2)       in -1 .. 1, straight through the rounding
        k    = sum_i (round(f(z_i)) + floor(L_i / 2)) L_1 ... L_(i-1)

    There is no codebook to learn, so none collapses, and both losses are 0. When to choose it: for large K (10,000
    and more) and whenever simplicity counts. Below some 1,000 codes a learned codebook reconstructs better. Wrap
    it in a ``ProjectedQuantizer`` for a decoder that wants more channels. The paper's levels: (8, 6, 5) for 240
    codes, (8, 5, 5, 5) for 1,000, (7, 5, 5, 5, 5) for 4,375, (8, 8, 8, 6, 5) for 15,360, (8, 8, 8, 5, 5, 5) for
    64,000.

    It is computed in float32, also under autocast and for bf16 latents. A NaN is quantized as 0 is.

    Args:
        levels: number of levels of each channel, each 3 or more; for two levels take ``LFQ`` or ``BSQ``.
        channel_last: whether z_e is [B, *spatial, D] instead of [B, D, *spatial].

    Raises:
        ValueError: for no levels, a level below 3, or more codes than int64 can count.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["fsq"] = "fsq"
        levels: Levels = (8, 5, 5, 5)

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "FSQ":
            """Make the quantizer."""
            return FSQ(self.levels)

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            fewer = ",".join(str(max(3, level // 2 + 1)) for level in self.levels)
            return Advice("ask for fewer codes, or train longer", {f"{key}.levels": f"[{fewer}]"})

    num_levels: Tensor
    places: Tensor

    def __init__(self, levels: Sequence[int], *, channel_last: bool = False) -> None:
        self.Config.check(levels=levels)
        super().__init__(num_codes=prod(levels), channels=len(levels), channel_last=channel_last)
        self.levels = tuple(levels)
        self.register_buffer("num_levels", torch.tensor(self.levels), persistent=False)
        self.register_buffer("places", torch.tensor(_places(self.levels)), persistent=False)

    @property
    def residual_scale(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The size of one step of each channel, over the width of what L such steps cover: float32 [D]."""
        return 1.0 / (self.num_levels - 1 + self.num_levels % 2)

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, D]; there is no statistic and no loss that a mask could change."""
        return self._rounded(self._bound(vectors))

    def quantize_residual(self, residual: Tensor, mask: Tensor | None) -> Quantized:
        """Round a residual, float32 [N, D], which is bounded already."""
        return self._rounded(residual * (self.num_levels // 2))

    def latents_of(self, vectors: Tensor) -> Tensor:
        """Return the bounded vectors before they are rounded, float32 [N, D]."""
        return self._bound(vectors) / (self.num_levels // 2)

    def latent_tolerance(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Return how far the bounded vectors may move, float32 [N]: the tolerance times the steepest slope."""
        return tolerance * ((self.num_levels / 2) / (self.num_levels // 2)).amax()

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes, int64 [N, 1]."""
        half = self.num_levels // 2
        digits = codes // self.places % self.num_levels
        return (digits - half) / half

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, D] could get another code if they moved by the tolerance [N]: bool [N]."""
        steepest = self.num_levels / 2
        return self._near_an_edge(self._bound(vectors), steepest, tolerance)

    def ambiguous_residual(self, residual: Tensor, tolerance: Tensor) -> Tensor:
        """Answer as ``ambiguous_vectors`` does, for residuals."""
        half = self.num_levels // 2
        return self._near_an_edge(residual * half, half, tolerance)

    def _bound(self, z: Tensor) -> Tensor:
        half = (self.num_levels - 1) * (1 + _EPS) / 2
        offset = 0.5 - 0.5 * (self.num_levels % 2)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset

    def _rounded(self, bounded: Tensor) -> Quantized:
        half = self.num_levels // 2
        rounded = bounded.detach().nan_to_num(0.0).round()
        # tanh reaches 1, and at hundreds of levels its 1 + eps is a level too many
        digits = torch.minimum((rounded.long() + half).clamp(min=0), self.num_levels - 1)
        zero = bounded.new_zeros(())
        return Quantized(
            z_q=straight_through(bounded / half, (digits - half) / half),
            codes=(digits * self.places).sum(-1, keepdim=True),
            codebook_loss=zero,
            commitment_loss=zero,
        )

    def _near_an_edge(self, bounded: Tensor, slope: Tensor, tolerance: Tensor) -> Tensor:
        to_edge = (bounded - bounded.floor() - 0.5).abs()
        return ~(to_edge > slope * (tolerance[:, None] + 1e-6)).all(1)  # 1e-6 for rounding

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        applied = super()._apply(fn, recurse)
        if not self.num_levels.is_meta:  # to_empty() leaves no values, and no state dict has them
            self.num_levels.copy_(torch.tensor(self.levels))
            self.places.copy_(torch.tensor(_places(self.levels)))
        return applied


def _places(levels: Sequence[int]) -> list[int]:
    """Return the place value in k of each channel's level."""
    return list(accumulate([1, *levels[:-1]], mul))
