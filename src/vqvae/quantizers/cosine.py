"""Codes and latents of length one: the angle alone decides (ViT-VQGAN, arXiv 2110.04627, section 3.2)."""

from dataclasses import dataclass
from typing import Annotated, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Fraction, Whole
from vqvae.distributed import sum_over_ranks
from vqvae.quantizers.codebook import CodebookArguments, CodebookQuantizer, RevivedCodebookConfig
from vqvae.quantizers.nearest import ambiguous_codes


class CosineQuantizer(CodebookQuantizer):
    """Choose the code with the largest cosine; a code is the mean direction of the latents that choose it.

    With z = z_e / |z_e| and all |e_j| = 1, the nearest code is the code of the largest cosine::

        k   = argmin_j |z - e_j| = argmax_j z.e_j
        m_i <- gamma m_i + (1 - gamma) sum_j z_ij
        e_i <- m_i / |m_i|

    The paper trains the codebook by gradient. Here it is online spherical k-means: running means keep more codes
    in use and need no learning rate, and a gradient would leave the sphere. codebook_loss is 0, and the commitment
    is between directions. When to choose it: for large codebooks (K of 8192 and more), where long codes would win
    everything, and best in few dimensions (inside a ``ProjectedQuantizer``). The length of z_e is lost, so the
    decoder sees unit vectors. A z_e of length 0 gets code 0 and next to no gradient.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code, 2 or more.
        decay: decay gamma of the running means, in [0, 1).
        others: the keyword arguments of ``CodebookQuantizer``: codes_per_position, estimator, revive_every,
            revive_below, forwards_per_update, seed, channel_last.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(RevivedCodebookConfig):
        """Settings of the class."""

        kind: Literal["cosine"] = "cosine"
        dim: Annotated[Whole, Field(ge=2)] = 16
        decay: Fraction = 0.99

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "CosineQuantizer":
            """Make the quantizer."""
            return CosineQuantizer(**self.arguments(), forwards_per_update=forwards_per_update, seed=seed)

    residual_scale = None
    no_residual_because = "its codes have length one, however short the residual is"
    sums: Tensor

    def __init__(
        self, num_codes: int, dim: int, *, decay: float = Config.decay, **others: Unpack[CodebookArguments]
    ) -> None:
        self.Config.check(decay=decay)
        super().__init__(num_codes, dim, **others)
        self.decay = decay
        self.register_buffer("codebook", directions(torch.randn(num_codes, dim)))
        self.register_buffer("sums", self.codebook.clone())

    def latents_of(self, vectors: Tensor) -> Tensor:
        """Return the directions of the vectors, float32 [N, n*D]; each of the n by itself."""
        return directions(vectors.view(-1, self.dim)).view_as(vectors)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, n*D] could get another code if they moved by the tolerance [N]: bool [N]."""
        parts, each = vectors.view(-1, self.dim), tolerance.repeat_interleave(self.codes_per_position)
        # |x/|x| - y/|y|| <= 2 |x - y| / |x|, and some for the rounding of the division
        reach = 2 * each / parts.norm(dim=1).clamp(min=1e-6) + 1e-6
        marked = ambiguous_codes(directions(parts), self.codebook, reach)
        return marked.view(-1, self.codes_per_position).any(1)

    def _learn(self, latents: Tensor, codes: Tensor, n: Tensor) -> None:
        z = sum_over_ranks(torch.zeros_like(self.sums).index_add_(0, codes, latents))
        self.sums.lerp_(z, (1 - self.decay) * ~self.tracker.frozen[:, None])
        # an unused code keeps its direction to the bit, however short its sum becomes; and opposite latents whose
        # sum is zero have no direction
        moved = (n > 0) & ~self.tracker.frozen & (self.sums.norm(dim=1) > 0)
        self.codebook.copy_(torch.where(moved[:, None], F.normalize(self.sums, eps=1e-38), self.codebook))

    def _restart(self, codes: Tensor) -> None:
        # codes may come from vectors of any length; the sums follow the codes
        self.codebook[codes] = directions(self.codebook[codes])
        self.sums[codes] = self.codebook[codes]


def directions(vectors: Tensor) -> Tensor:
    """Return vectors [N, D] at length one; vectors shorter than 1e-6 are divided by 1e-6.

    The length is computed in float64. In float32, its last bit would depend on the order of the sum, which differs
    between processors.
    """
    exact = vectors if vectors.device.type == "mps" else vectors.double()  # MPS has no float64
    length = exact.norm(dim=-1, keepdim=True).to(vectors.dtype)
    return vectors / length.clamp(min=1e-6)  # float32's usual 1e-12 would blow the gradient up near 0
