"""Grouped codes: the channels in parts, each with a quantizer of its own (arXiv 1910.05453, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae.component import Advice, Count
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.compose import layers_of, merged
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.tensors import Quantized


class GroupedQuantizer(nn.Module):
    """Split the channels, quantize each part with its own codebook, and put the parts together again.

    ``z_q = [quantize_1(z_1); ...; quantize_G(z_G)]``, a product quantizer: K^G combinations with K * G codes.
    The losses are means over all elements, as of one quantizer. When to choose it: for more bits a position where
    order between codes is not wanted (a residual stack has one). Several codes a position from one shared
    codebook are ``codes_per_position`` of any quantizer that has it.

    Args:
        groups: quantizers of equal num_codes; z_e has the sum of their channels, codes the sum of their n.

    Raises:
        ValueError: when there are none or their num_codes differ.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class.

        Attributes:
            groups: number of groups of channels.
            inner: the quantizer of each group.
        """

        kind: Literal["grouped"] = "grouped"
        groups: Count = 2
        inner: QuantizerConfig = field(default_factory=lambda: EMAQuantizer.Config(dim=32))

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "GroupedQuantizer":
            """Make the quantizer; each group has a seed of its own."""
            return GroupedQuantizer(
                [
                    self.inner.build(forwards_per_update=forwards_per_update, seed=seed + group)
                    for group in range(self.groups)
                ]
            )

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    def __init__(self, groups: Sequence[Quantizer]) -> None:
        super().__init__()
        self.groups = layers_of(groups, "num_codes")
        self.num_codes = groups[0].num_codes
        self.codes_per_position = sum(group.codes_per_position for group in groups)
        self.channels = sum(group.channels for group in groups)

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; positions where mask, bool [B, h, w], is False count for nothing."""
        channels = [group.channels for group in self.groups]
        parts = [group(z, mask) for group, z in zip(self.groups, z_e.split(channels, dim=1), strict=True)]
        shares = torch.tensor(channels, device=z_e.device) / self.channels
        return Quantized(
            z_q=torch.cat([part.z_q for part in parts], dim=1),
            codes=torch.cat([part.codes for part in parts], dim=3),
            codebook_loss=(shares * torch.stack([part.codebook_loss for part in parts])).sum(),
            commitment_loss=(shares * torch.stack([part.commitment_loss for part in parts])).sum(),
        )

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, D, h, w], of codes, int64 [B, h, w, n]."""
        parts = codes.split([group.codes_per_position for group in self.groups], dim=3)
        return torch.cat([group.embed(part) for group, part in zip(self.groups, parts, strict=True)], dim=1)

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        parts = z_e.split([group.channels for group in self.groups], dim=1)
        unsure = [group.is_ambiguous(z, tolerance) for group, z in zip(self.groups, parts, strict=True)]
        return torch.stack(unsure).any(0)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update every group. Returns their metrics, summed."""
        return merged(group.update(revive=revive) for group in self.groups)
