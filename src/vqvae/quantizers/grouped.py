"""Grouped codes: the channels in parts, each with a quantizer of its own (arXiv 1910.05453, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae.component import Advice, Count
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.compose import check_alike, merged
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.tensors import Quantized


class GroupedQuantizer(Quantizer):
    """Split the channels into groups and quantize each group with a quantizer of its own.

    ``z_q = [quantize_1(z_1); ...; quantize_G(z_G)]``, a product quantizer: K^G combinations with K * G codes. The
    losses are means over all elements, as with one quantizer. When to choose it: for more bits a position
    where no order between codes is wanted (a residual stack has one). For several codes per position from one
    shared codebook, take the ``codes_per_position`` of a quantizer that has it.

    Args:
        groups: the quantizers, different objects of equal num_codes; z_e has the sum of their channels, codes have
            the sum of their n.
        channel_last: whether z_e is [B, *spatial, D] instead of [B, D, *spatial].

    Raises:
        ValueError: when there are none, one stands twice, or their num_codes differ.
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
            self.check(groups=self.groups)
            return GroupedQuantizer(
                [
                    self.inner.build(forwards_per_update=forwards_per_update, seed=seed + group)
                    for group in range(self.groups)
                ]
            )

        def shares_codebook(self) -> bool:
            """Return whether several codes of a position are chosen from one codebook of the inner quantizer."""
            return self.inner.shares_codebook()

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    keeps_float32 = False
    no_residual_because = "its groups can hold a stack each: put a ResidualQuantizer into each group"

    def __init__(self, groups: Sequence[Quantizer], *, channel_last: bool = False) -> None:
        check_alike(groups, "num_codes")
        if len(set(map(id, groups))) < len(groups):
            raise ValueError(
                "the same quantizer object in two groups: to share a codebook, use codes_per_position"
            )
        super().__init__(
            num_codes=groups[0].num_codes,
            channels=sum(group.channels for group in groups),
            codes_per_position=sum(group.codes_per_position for group in groups),
            channel_last=channel_last,
        )
        self.groups: Sequence[Quantizer] = nn.ModuleList(groups)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of the n codes of a vector chooses from, first group first."""
        return sum((group.code_sizes for group in self.groups), start=())

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float [N, D]."""
        parts = [group(z, mask) for group, z in zip(self.groups, self._split(vectors), strict=True)]
        shares = torch.tensor([group.channels for group in self.groups], device=vectors.device) / self.channels
        return Quantized(
            z_q=torch.cat([part.z_q for part in parts], dim=1),
            codes=torch.cat([part.codes for part in parts], dim=1),
            codebook_loss=(shares * torch.stack([part.codebook_loss for part in parts])).sum(),
            commitment_loss=(shares * torch.stack([part.commitment_loss for part in parts])).sum(),
        )

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes, int64 [N, n]."""
        parts = codes.split([group.codes_per_position for group in self.groups], dim=1)
        return torch.cat([group.embed(part) for group, part in zip(self.groups, parts, strict=True)], dim=1)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, D] could get another code if they moved by the tolerance [N]: bool [N]."""
        parts = zip(self.groups, self._split(vectors), strict=True)
        return torch.stack([group.is_ambiguous(z, tolerance) for group, z in parts]).any(0)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update every group. Returns their metrics, summed."""
        return merged(group.update(revive=revive) for group in self.groups)

    def _split(self, vectors: Tensor) -> Sequence[Tensor]:
        return vectors.split([group.channels for group in self.groups], dim=1)
