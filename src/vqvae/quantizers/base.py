"""What a quantizer offers; networks, jobs and files know nothing else of it."""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from vqvae.component import Advice, Config
from vqvae.tensors import Quantized


@runtime_checkable
class Quantizer(Protocol):
    """A map from the encoder's output to discrete codes and back.

    Attributes:
        num_codes: K, the codes a position chooses from.
        codes_per_position: n, the codes at each position of the grid.
        channels: D of z_e [B, D, h, w].
    """

    num_codes: int
    codes_per_position: int
    channels: int

    def __call__(self, z_e: Tensor, mask: Tensor | None = None, /) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; in training mode also note the batch's statistics.

        Positions where mask, bool [B, h, w], is False get codes, but are in no loss and no statistic.
        """
        ...

    def embed(self, codes: Tensor, /) -> Tensor:
        """Return z_q, float [B, D, h, w], of codes, int64 [B, h, w, n]: exactly what ``forward`` returned."""
        ...

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor, /) -> Tensor:
        """Say at which positions a small change of z_e could give another code in eval mode: bool [B, h, w].

        The change is of each position's vector, by a length of at most the image's tolerance, float [B].
        """
        ...

    def update(self, *, revive: bool = True) -> dict[str, Any]:
        """Apply the statistics noted since the last update: once an optimizer step. Returns metrics."""
        ...


NumCodes = Annotated[int, Field(gt=1)]


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig(Config):
    """Settings of a quantizer; a kind adds its own and says how to build it."""

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer.

        Args:
            forwards_per_update: training forwards that one update spans (gradient accumulation).
            seed: of everything random in it.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not say how to build its quantizer")

    def code_count(self) -> int:
        """Return K of the quantizer that ``build`` makes."""
        with torch.device("meta"):
            return self.build().num_codes

    def advice(self, key: str) -> Advice:
        """Return how to bring more codes into use.

        Args:
            key: of this config in the run's config, such as ``model.quantizer``.
        """
        return Advice("ask for fewer codes, or train longer", {})
