"""Codes of few dimensions between two linear maps (ViT-VQGAN, arXiv 2110.04627, section 3.2)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae.component import Advice, Count
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.quantizers.gumbel import GumbelQuantizer
from vqvae.quantizers.reshape import map_of_vectors, shape_of_positions, vectors_of_map
from vqvae.tensors import Quantized


class ProjectedQuantizer(Quantizer):
    """Map z_e linearly to fewer channels, quantize these, and map the result back.

    ``z_q = U quantize(V z_e + a) + b``. The search and both losses are in the low dimension. When to choose it:
    for K of some thousands, where few dimensions (4 to 16) bring more codes into use than other settings; and
    for ``FSQ``, ``LFQ`` or ``BSQ``, which have few channels, with a network of any width.

    The maps run in float32 even under autocast, so that codes do not depend on autocast.

    Args:
        inner: the quantizer between the maps; its ``channels`` is the low dimension, and its codes are the codes.
        channels: number of channels D of z_e and z_q.
        channel_last: whether z_e is [B, *spatial, D] instead of [B, D, *spatial].

    Raises:
        ValueError: for fewer than one channel.
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

        def shares_codebook(self) -> bool:
            """Return whether several codes of a position are chosen from one codebook of the inner quantizer."""
            return self.inner.shares_codebook()

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    keeps_float32 = False
    no_residual_because = GumbelQuantizer.no_residual_because

    def __init__(self, inner: Quantizer, channels: int, *, channel_last: bool = False) -> None:
        self.Config.check(channels=channels)
        super().__init__(
            num_codes=inner.num_codes,
            channels=channels,
            codes_per_position=inner.codes_per_position,
            channel_last=channel_last,
        )
        self.down = nn.Linear(channels, inner.channels)
        self.inner = inner
        self.up = nn.Linear(inner.channels, channels)

    @property
    def residual_scale(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """1, since the maps learn the size of the latents; None around a quantizer that draws its codes."""
        drawn = any(isinstance(part, GumbelQuantizer) for part in self.inner.modules())
        return None if drawn else 1.0

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of the n codes of a vector chooses from, as the inner quantizer states."""
        return self.inner.code_sizes

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float [N, D]; losses and statistics are those of the inner quantizer."""
        found = self.inner(_mapped(vectors, self.down), mask)
        return found._replace(z_q=_mapped(found.z_q, self.up))

    def low(self, z_e: Tensor) -> Tensor:
        """Return V z_e + a, float32 [B, inner.channels, *spatial], of z_e [B, D, *spatial]."""
        vectors = _mapped(vectors_of_map(z_e, self.channel_last), self.down)
        return map_of_vectors(vectors, shape_of_positions(z_e, self.channel_last), self.channel_last)

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes, int64 [N, n]."""
        return _mapped(self.inner.embed(codes), self.up)

    def takes_codes(self, number: int) -> bool:
        """Return whether the inner quantizer takes ``number`` codes per position."""
        return self.inner.takes_codes(number)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, D] could get another code if they moved by the tolerance [N]: bool [N]."""
        weight = self.down.weight.detach()
        steepest = torch.linalg.matrix_norm(weight.float().cpu(), 2).to(vectors.device)
        rounding = torch.finfo(torch.float32).eps * weight.shape[1] * vectors.norm(dim=1)
        return self.inner.is_ambiguous(_mapped(vectors, self.down), steepest * (tolerance + rounding))

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update the inner quantizer."""
        return self.inner.update(revive=revive)


def _mapped(vectors: Tensor, linear: nn.Linear) -> Tensor:
    with torch.autocast(vectors.device.type, enabled=False):
        return linear(vectors.to(linear.weight.dtype)).float()
