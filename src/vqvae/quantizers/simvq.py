"""SimVQ: a frozen codebook seen through one learned linear map (arXiv 2411.02038)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice
from vqvae.quantizers.codebook import CodebookConfig
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
    straight_through,
    vectors_of,
)
from vqvae.quantizers.nearest import ambiguous_codes, nearest_code
from vqvae.tensors import Quantized


class SimVQ(KeepFloat32):
    """Nearest code of e_j = W c_j, where the c_j stay as they were drawn and only W learns.

    ::

        k = argmin_j |z_e - W c_j|
        codebook_loss   = mean (sg[z_e] - W c_k)^2
        commitment_loss = mean (z_e - sg[W c_k])^2

    A step of W moves all codes, chosen or not, so none is left behind and no revival is needed. When to choose
    it: for large codebooks (K of 8192 and more) of high dimension, where it keeps nearly all codes in use.

    Args:
        num_codes: K.
        dim: D, of a code.
        codes_per_position: n, the codes at each position, all from the one codebook; z_e has n*D channels.
        estimator: of the gradient: ``straight_through`` or ``rotation_trick``.
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

    frozen_codebook: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = CodebookConfig.codes_per_position,
        estimator: Estimator = straight_through,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.codes_per_position = codes_per_position
        self.channels = codes_per_position * dim
        self.estimator = estimator
        self.register_buffer("frozen_codebook", torch.randn(num_codes, dim) * dim**-0.5)
        self.map = nn.Linear(dim, dim, bias=False)

    @property
    def codebook(self) -> Tensor:
        """The e_j = W c_j, float32 [K, D], with the gradient of W."""
        with torch.autocast(self.frozen_codebook.device.type, enabled=False):
            return self.map(self.frozen_codebook)  # always all of them: of fewer, a product may round otherwise

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, n*D, h, w]; positions where mask, bool [B, h, w], is False are in no loss."""
        latents = vectors_of(z_e, self.codes_per_position)
        codebook = self.codebook
        codes = nearest_code(latents, codebook.detach())
        e = F.embedding(codes, codebook)
        return Quantized(
            z_q=map_of(self.estimator(latents, e), z_e),
            codes=codes.view(len(z_e), *z_e.shape[2:], self.codes_per_position),
            codebook_loss=mean_square(e, latents.detach(), rows_that_count(latents, mask), training=self.training),
            commitment_loss=mean_square(latents, e.detach(), rows_of(mask, latents), training=self.training),
        )

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, n*D, h, w], of codes, int64 [B, h, w, n]; no gradient reaches W."""
        return embed_codes(codes, self.codebook.detach())

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        latents = vectors_of(z_e, self.codes_per_position)
        reach = each_vector(tolerance, latents)
        return positions_of(ambiguous_codes(latents, self.codebook.detach(), reach), z_e)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Do nothing: the optimizer moves W."""
        return {}
