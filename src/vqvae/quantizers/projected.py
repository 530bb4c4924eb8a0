"""Codes of few dimensions between two linear maps (ViT-VQGAN, arXiv 2110.04627, section 3.2)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae.component import Advice, Count
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.tensors import Quantized


class ProjectedQuantizer(nn.Module):
    """Any quantizer of low dimension, with a linear map down to it and one back up.

    ``z_q = U quantize(V z_e) + b``: the search, and both losses, are in the low dimension. When to choose it:
    with K of some thousands, where few dimensions (4 to 16) matter more for the share of codes in use than any
    other choice; and to give ``FSQ``, ``LFQ`` or ``BSQ``, whose channels are few, a network of any width.

    The maps run in float32 whatever autocast says, so that codes do not depend on it.

    Args:
        inner: between the maps; its ``channels`` is the low dimension, its codes are the codes.
        channels: D of z_e and z_q.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["projected"] = "projected"
        channels: Count = 64
        inner: QuantizerConfig = field(default_factory=lambda: EMAQuantizer.Config(dim=8))

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "ProjectedQuantizer":
            """Make the quantizer."""
            inner = self.inner.build(forwards_per_update=forwards_per_update, seed=seed)
            return ProjectedQuantizer(inner, self.channels)

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    inner: Quantizer

    def __init__(self, inner: Quantizer, channels: int) -> None:
        super().__init__()
        self.num_codes = inner.num_codes
        self.codes_per_position = inner.codes_per_position
        self.channels = channels
        self.down = nn.Linear(channels, inner.channels)
        self.inner = inner
        self.up = nn.Linear(inner.channels, channels)

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; the mask, bool [B, h, w], is the inner quantizer's."""
        quantized = self.inner(self.low(z_e), mask)
        return quantized._replace(z_q=_mapped(quantized.z_q, self.up))

    def low(self, z_e: Tensor) -> Tensor:
        """Return what the inner quantizer sees of z_e: float32 [B, inner.channels, h, w]."""
        return _mapped(z_e, self.down)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, D, h, w], of codes, int64 [B, h, w, n]."""
        return _mapped(self.inner.embed(codes), self.up)

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        weight = self.down.weight.detach()
        steepest = torch.linalg.matrix_norm(weight.float().cpu(), 2).to(z_e.device)
        rounding = torch.finfo(torch.float32).eps * weight.shape[1] * z_e.norm(dim=1).flatten(1).amax(1)
        return self.inner.is_ambiguous(_mapped(z_e, self.down), steepest * (tolerance + rounding))

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update the inner quantizer."""
        return self.inner.update(revive=revive)


def _mapped(z: Tensor, linear: nn.Linear) -> Tensor:
    with torch.autocast(z.device.type, enabled=False):
        rows = z.permute(0, 2, 3, 1).contiguous().to(linear.weight.dtype)
        return linear(rows).permute(0, 3, 1, 2).float()
