"""Codes and latents of length one: the angle alone decides (ViT-VQGAN, arXiv 2110.04627, section 3.2)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Fraction
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.codebook import CodebookQuantizer, RevivedCodebookConfig
from vqvae.quantizers.layout import Estimator, each_vector, positions_of, straight_through, vectors_of
from vqvae.quantizers.nearest import ambiguous_codes
from vqvae.quantizers.tracker import CodebookTracker


class CosineQuantizer(CodebookQuantizer):
    """The nearest code by cosine, and a codebook of directions, each the mean direction of what chose it.

    With z = z_e / |z_e| and all |e_j| = 1 the nearest code is the one of the largest cosine::

        k   = argmin_j |z - e_j| = argmax_j z.e_j
        m_i <- gamma m_i + (1 - gamma) sum_j z_ij
        e_i <- m_i / |m_i|

    The paper trains the codebook by gradient; here it is spherical k-means online, since running means keep more
    codes in use and need no learning rate, and a gradient would leave the sphere. codebook_loss is 0, and the
    commitment is between directions. When to choose it: for large codebooks (K of 8192 and more), where lengths
    make a few codes win everything; best at few dimensions (inside a ``ProjectedQuantizer``). The length of z_e
    is lost, so the decoder sees unit vectors. A z_e of length 0 gets code 0 and no gradient of note.

    Args:
        num_codes: K.
        dim: D, of a code, 2 or more.
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

        kind: Literal["cosine"] = "cosine"
        dim: Annotated[int, Field(ge=2)] = 16
        decay: Fraction = 0.99

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "CosineQuantizer":
            """Make the quantizer."""
            return CosineQuantizer(**self.arguments(), forwards_per_update=forwards_per_update, seed=seed)

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
        self.register_buffer("codebook", directions(torch.randn(num_codes, dim)))
        self.register_buffer("sums", self.codebook.clone())

    def latents_of(self, z_e: Tensor) -> Tensor:
        """Return the directions of z_e, float32 [B*h*w*n, D]."""
        return directions(vectors_of(z_e, self.codes_per_position))

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        vectors = vectors_of(z_e, self.codes_per_position)
        # |x/|x| - y/|y|| <= 2 |x - y| / |x|, and some for the rounding of the division
        reach = 2 * each_vector(tolerance, vectors) / vectors.norm(dim=1).clamp(min=1e-6) + 1e-6
        return positions_of(ambiguous_codes(directions(vectors), self.codebook, reach), z_e)

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        z = sum_over_ranks(torch.zeros_like(self.sums).index_add_(0, codes, latents))
        self.sums.lerp_(z, (1 - self.decay) * ~self.tracker.frozen[:, None])
        # an unused code keeps its direction to the bit, however short its sum becomes; and opposite latents
        # that cancel to nothing give none
        moved = (n > 0) & ~self.tracker.frozen & (self.sums.norm(dim=1) > 0)
        self.codebook.copy_(torch.where(moved[:, None], F.normalize(self.sums, eps=1e-38), self.codebook))

    def _restart(self, codes: Tensor) -> None:
        # revived latents of many lengths one could differ from directions by a rounding; sums follow the codes
        self.codebook[codes] = directions(self.codebook[codes])
        self.sums[codes] = self.codebook[codes]


def directions(vectors: Tensor) -> Tensor:
    """Return vectors [N, D] at length one; shorter than 1e-6, what their division by that gives."""
    return F.normalize(vectors, dim=-1, eps=1e-6)  # float32's usual 1e-12 would blow the gradient up near 0
