"""SimVQ: a frozen codebook seen through one learned linear map (arXiv 2411.02038)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice
from vqvae.quantizers.base import Quantizer
from vqvae.quantizers.codebook import CodebookConfig
from vqvae.quantizers.estimators import Estimator, straight_through
from vqvae.quantizers.losses import countable, mean_square
from vqvae.quantizers.nearest import ambiguous_codes, nearest_code
from vqvae.quantizers.reshape import repeat_mask
from vqvae.tensors import Quantized


class SimVQ(Quantizer):
    """Choose the nearest code e_j = W c_j; the vectors c_j are fixed, and the linear map W is learned.

    ::

        k = argmin_j |z_e - W c_j|
        codebook_loss   = mean (sg[z_e] - W c_k)^2
        commitment_loss = mean (z_e - sg[W c_k])^2

    A step of W moves all codes, chosen or not, so no code is left behind and no revival is needed. When to choose
    it: for large codebooks (K of 8192 and more) of high dimension, where it keeps nearly all codes in use.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code.
        codes_per_position: number of codes n at each position, all from the one codebook; z_e has n*D channels.
        estimator: how the gradient passes to z_e: ``straight_through`` or ``rotation`` (``rotation_trick``).
        channel_last: whether z_e is [B, *spatial, n*D] instead of [B, n*D, *spatial].

    Raises:
        ValueError: for an argument that the ``Config`` would refuse.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(CodebookConfig):
        """Settings of the class."""

        kind: Literal["simvq"] = "simvq"

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "SimVQ":
            """Make the quantizer."""
            return SimVQ(**self.arguments())

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            fewer = {f"{key}.num_codes": str(max(2, self.num_codes // 2))}
            return Advice("ask for fewer codes, or train longer", fewer)

    residual_scale = 1.0
    no_copies_because = "one map moves all of them alike, so a copy would never differ from its code"
    frozen_codebook: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = CodebookConfig.codes_per_position,
        estimator: Estimator = straight_through,
        channel_last: bool = False,
    ) -> None:
        self.Config.check(num_codes=num_codes, dim=dim, codes_per_position=codes_per_position)
        super().__init__(
            num_codes=num_codes,
            channels=codes_per_position * dim,
            codes_per_position=codes_per_position,
            channel_last=channel_last,
        )
        self.dim = dim
        self.estimator = estimator
        self.register_buffer("frozen_codebook", torch.randn(num_codes, dim) * dim**-0.5)
        self.map = nn.Linear(dim, dim, bias=False)

    @property
    def codebook(self) -> Tensor:
        """The e_j = W c_j, float32 [K, D], with the gradient of W."""
        with torch.autocast(self.frozen_codebook.device.type, enabled=False):
            return self.map(self.frozen_codebook)  # always all of them: a product with fewer may round otherwise

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, n*D]."""
        latents, mask = vectors.view(-1, self.dim), repeat_mask(mask, self.codes_per_position)
        codebook = self.codebook
        codes = nearest_code(latents, codebook)
        e = F.embedding(codes, codebook)
        counted = countable(latents, mask)
        return Quantized(
            z_q=self.estimator(latents, e).view_as(vectors),
            codes=codes.view(-1, self.codes_per_position),
            codebook_loss=mean_square(e, latents.detach(), counted, training=self.training),
            commitment_loss=mean_square(latents, e.detach(), mask, training=self.training),
        )

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, n*D], of codes, int64 [N, n]; no gradient reaches W."""
        return F.embedding(codes, self.codebook.detach()).flatten(1)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, n*D] could get another code if they moved by the tolerance [N]: bool [N]."""
        each = tolerance.repeat_interleave(self.codes_per_position)
        marked = ambiguous_codes(vectors.view(-1, self.dim), self.codebook.detach(), each)
        return marked.view(-1, self.codes_per_position).any(1)
