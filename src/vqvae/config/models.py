"""Which networks: the tokenizer's and the priors', one dataclass each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from vqvae.config.fields import STRICT, Count, CountOrZero, Fraction, settings
from vqvae.config.quantizers import EMAQuantizerConfig, QuantizerConfig

if TYPE_CHECKING:
    from vqvae.models import VQVAE
    from vqvae.priors import CodeTransformer, PixelCNN


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VQVAEConfig:
    """``vqvae.models.VQVAE``."""

    width: Count = 128
    outer_width: Count = 64
    residual_width: Count = 32
    residual_blocks: CountOrZero = 2
    factor: Literal[2, 4, 8, 16, 32] = 4
    quantizer: QuantizerConfig = Field(default_factory=EMAQuantizerConfig)

    def build(self, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> VQVAE:
        """Make the tokenizer for images of so many channels."""
        from vqvae.models import VQVAE

        return VQVAE(
            self.quantizer.build(forwards_per_update=forwards_per_update, seed=seed),
            channels=channels,
            width=self.width,
            outer_width=self.outer_width,
            residual_width=self.residual_width,
            residual_blocks=self.residual_blocks,
            factor=self.factor,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PixelCNNConfig:
    """``vqvae.models.PixelCNN``."""

    kind: Literal["pixelcnn"] = "pixelcnn"
    width: Count = 64
    layers: Count = 12
    kernel: Literal[3, 5, 7, 9] = 3
    head_width: Count = 256
    dropout: Fraction = 0.0

    def build(
        self, *, num_codes: int, codes_per_position: int, grid: tuple[int, int], num_classes: int
    ) -> PixelCNN:
        """Make the prior for codes of that shape."""
        from vqvae.priors import PixelCNN

        return PixelCNN(
            num_codes,
            codes_per_position=codes_per_position,
            grid=grid,
            num_classes=num_classes,
            **settings(self),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TransformerConfig:
    """``vqvae.models.CodeTransformer``."""

    kind: Literal["transformer"] = "transformer"
    width: Count = 128
    layers: Count = 6
    heads: Count = 4
    head_width: Count = 256
    dropout: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 4 * heads, {4 * self.heads}")

    def build(
        self, *, num_codes: int, codes_per_position: int, grid: tuple[int, int], num_classes: int
    ) -> CodeTransformer:
        """Make the prior for codes of that shape."""
        from vqvae.priors import CodeTransformer

        return CodeTransformer(
            num_codes,
            codes_per_position=codes_per_position,
            grid=grid,
            num_classes=num_classes,
            **settings(self),
        )


def _prior_kind(value: Any) -> Any:
    """Return which prior a mapping or a config is; without a word, a PixelCNN."""
    return value.get("kind", "pixelcnn") if isinstance(value, Mapping) else getattr(value, "kind", "pixelcnn")


PriorModelConfig = Annotated[
    Annotated[PixelCNNConfig, Tag("pixelcnn")] | Annotated[TransformerConfig, Tag("transformer")],
    Discriminator(
        _prior_kind, custom_error_type="prior_kind", custom_error_message="kind must be pixelcnn or transformer"
    ),
]
