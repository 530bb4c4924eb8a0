"""Finite scalar quantization: each channel rounded to a few levels (arXiv 2309.15505)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqvae.component import Advice
from vqvae.quantizers.base import QuantizerConfig
from vqvae.quantizers.layout import straight_through
from vqvae.tensors import Quantized

_EPS = (
    1e-3  # the outermost levels are reached at a finite z; the paper subtracts it, and from L = 1001 on loses them
)


class FSQ(nn.Module):
    """Bound each channel, round it to one of L_i levels, and count the combinations as codes.

    With L the levels of a channel (section 3.1 and appendix A)::

        f(z) = tanh(z + s) (L - 1) / 2 - o      o = 1/2 for even L, else 0; s such that f(0) = 0
        z_q  = round(f(z)) / floor(L / 2)       in -1 .. 1, straight through the rounding
        k    = sum_i (round(f(z_i)) + floor(L_i / 2)) L_1 ... L_(i-1)

    There is no codebook to learn, so none to collapse, and both losses are 0. When to choose it: for large K
    (10,000 and more) and whenever simplicity counts; below some 1,000 codes a learned codebook reconstructs
    better. Wrap it in a ``ProjectedQuantizer`` for a decoder that wants more channels. The paper's levels:
    (8, 6, 5) for 240 codes, (8, 5, 5, 5) for 1,000, (7, 5, 5, 5, 5) for 4,375, (8, 8, 8, 6, 5) for 15,360,
    (8, 8, 8, 5, 5, 5) for 64,000.

    Computed in float32, also under autocast and for bf16 latents; codes are int64. A NaN is quantized as 0 is.

    Args:
        levels: the L_i, one a channel, each 3 or more; of two levels a channel are ``LFQ`` and ``BSQ``.

    Raises:
        ValueError: for no levels, a level below 3, or more codes than int64 can count.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["fsq"] = "fsq"
        levels: Annotated[tuple[Annotated[int, Field(ge=3)], ...], Field(min_length=1)] = (8, 5, 5, 5)

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "FSQ":
            """Make the quantizer."""
            return FSQ(self.levels)

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            fewer = ",".join(str(max(3, level // 2 + 1)) for level in self.levels)
            return Advice("ask for fewer codes, or train longer", {f"{key}.levels": f"[{fewer}]"})

    num_levels: Tensor
    places: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 3 or prod(levels) >= 2**63:
            raise ValueError(f"levels {tuple(levels)}: expected levels of 3 or more, with a product below 2^63")
        self.levels = tuple(levels)
        self.num_codes = prod(levels)
        self.codes_per_position = 1
        self.channels = len(levels)
        places = list(accumulate([1, *levels[:-1]], mul))  # what a level of each channel counts in k
        self.register_buffer("num_levels", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; there are no statistics or losses that a mask could leave out."""
        bounded = self._bound(z_e.permute(0, 2, 3, 1).float())
        half = self.num_levels // 2
        rounded = bounded.detach().nan_to_num(0.0).round()
        # tanh reaches 1, and at hundreds of levels its 1 + eps is a level too many
        digits = torch.minimum((rounded.long() + half).clamp(min=0), self.num_levels - 1)
        zero = bounded.new_zeros(())
        return Quantized(
            z_q=straight_through(bounded / half, (digits - half) / half).permute(0, 3, 1, 2),
            codes=(digits * self.places).sum(-1, keepdim=True),
            codebook_loss=zero,
            commitment_loss=zero,
        )

    def _bound(self, z: Tensor) -> Tensor:
        half = (self.num_levels - 1) * (1 + _EPS) / 2
        offset = 0.5 - 0.5 * (self.num_levels % 2)
        return torch.tanh(z + torch.atanh(offset / half)) * half - offset

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, D, h, w], of codes, int64 [B, h, w, 1]."""
        half = self.num_levels // 2
        digits = codes // self.places % self.num_levels
        return ((digits - half) / half).permute(0, 3, 1, 2)

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        bounded = self._bound(z_e.permute(0, 2, 3, 1).float())
        half = self.num_levels / 2  # the slope of the bound is at most this; 1e-6 of it is rounding
        to_edge = (bounded - bounded.floor() - 0.5).abs()
        return ~(to_edge > half * (tolerance[:, None, None, None] + 1e-6)).all(3)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Do nothing: there is no codebook."""
        return {}
