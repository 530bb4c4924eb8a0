"""Which quantizer, one dataclass a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from vqvae.config.fields import STRICT, Count, CountOrZero, Fraction, NotNegative, Positive, settings

if TYPE_CHECKING:
    from vqvae.quantizers import Estimator, Quantizer

NumCodes = Annotated[int, Field(gt=1)]
Bits = Annotated[int, Field(ge=1, le=62)]
Levels = Annotated[tuple[Annotated[int, Field(ge=3)], ...], Field(min_length=1)]
EstimatorName = Literal["straight_through", "rotation"]


def _estimator(name: EstimatorName) -> Estimator:
    from vqvae.quantizers import rotation_trick, straight_through

    return {"straight_through": straight_through, "rotation": rotation_trick}[name]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Codebook:
    """What quantizers that look up the nearest code have in common."""

    kind: str
    num_codes: NumCodes = 512
    dim: Count = 64
    codes_per_position: Count = 1
    estimator: EstimatorName = "straight_through"

    def _arguments(self) -> dict[str, Any]:
        """Return the settings as the quantizer takes them."""
        return {**settings(self), "estimator": _estimator(self.estimator)}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _RevivedCodebook(_Codebook):
    """What those that revive dead codes have in common."""

    revive_every: CountOrZero = 20
    revive_below: Fraction = 0.05


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _Bits:
    """What quantizers to bits have in common."""

    kind: str
    bits: Bits = 10
    entropy_weight: NotNegative
    diversity: NotNegative = 1.0
    temperature: Positive = 0.01


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VectorQuantizerConfig(_RevivedCodebook):
    """``vqvae.quantizers.VectorQuantizer``."""

    kind: Literal["vq"] = "vq"

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import VectorQuantizer

        return VectorQuantizer(**self._arguments(), forwards_per_update=forwards_per_update, seed=seed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EMAQuantizerConfig(_RevivedCodebook):
    """``vqvae.quantizers.EMAQuantizer``."""

    kind: Literal["ema"] = "ema"
    decay: Fraction = 0.99

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import EMAQuantizer

        return EMAQuantizer(**self._arguments(), forwards_per_update=forwards_per_update, seed=seed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CosineQuantizerConfig(_RevivedCodebook):
    """``vqvae.quantizers.CosineQuantizer``."""

    kind: Literal["cosine"] = "cosine"
    dim: Annotated[int, Field(ge=2)] = 16
    decay: Fraction = 0.99

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import CosineQuantizer

        return CosineQuantizer(**self._arguments(), forwards_per_update=forwards_per_update, seed=seed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SimVQConfig(_Codebook):
    """``vqvae.quantizers.SimVQ``."""

    kind: Literal["simvq"] = "simvq"

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import SimVQ

        return SimVQ(**self._arguments())


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GumbelQuantizerConfig:
    """``vqvae.quantizers.GumbelQuantizer``."""

    kind: Literal["gumbel"] = "gumbel"
    num_codes: NumCodes = 512
    dim: Count = 64
    kl_weight: NotNegative = 5e-4
    start_temperature: Positive = 1.0
    final_temperature: Positive = 1 / 16
    anneal_updates: Count = 10_000

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import GumbelQuantizer

        return GumbelQuantizer(**settings(self), forwards_per_update=forwards_per_update, seed=seed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FSQConfig:
    """``vqvae.quantizers.FSQ``."""

    kind: Literal["fsq"] = "fsq"
    levels: Levels = (8, 5, 5, 5)

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import FSQ

        return FSQ(self.levels)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LFQConfig(_Bits):
    """``vqvae.quantizers.LFQ``."""

    kind: Literal["lfq"] = "lfq"
    entropy_weight: NotNegative = 0.1

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import LFQ

        return LFQ(**settings(self))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BSQConfig(_Bits):
    """``vqvae.quantizers.BSQ``."""

    kind: Literal["bsq"] = "bsq"
    entropy_weight: NotNegative = 0.01

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import BSQ

        return BSQ(**settings(self))


PlainConfig = (
    VectorQuantizerConfig
    | EMAQuantizerConfig
    | CosineQuantizerConfig
    | SimVQConfig
    | GumbelQuantizerConfig
    | FSQConfig
    | LFQConfig
    | BSQConfig
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ResidualQuantizerConfig:
    """``vqvae.quantizers.ResidualQuantizer`` of ``depth`` quantizers as ``inner`` says."""

    kind: Literal["residual"] = "residual"
    depth: Count = 4
    inner: Annotated[PlainConfig, Field(discriminator="kind")] = Field(default_factory=EMAQuantizerConfig)
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    estimator: EstimatorName = "straight_through"

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer; each layer has a seed of its own."""
        from vqvae.quantizers import ResidualQuantizer

        return ResidualQuantizer(
            [self.inner.build(forwards_per_update=forwards_per_update, seed=seed + i) for i in range(self.depth)],
            dropout=self.dropout,
            estimator=_estimator(self.estimator),
            forwards_per_update=forwards_per_update,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GroupedQuantizerConfig:
    """``vqvae.quantizers.GroupedQuantizer`` of ``groups`` quantizers as ``inner`` says."""

    kind: Literal["grouped"] = "grouped"
    groups: Count = 2
    inner: Annotated[PlainConfig, Field(discriminator="kind")] = Field(
        default_factory=lambda: EMAQuantizerConfig(dim=32)
    )

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer; each group has a seed of its own."""
        from vqvae.quantizers import GroupedQuantizer

        groups = range(self.groups)
        return GroupedQuantizer(
            [self.inner.build(forwards_per_update=forwards_per_update, seed=seed + i) for i in groups]
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ProjectedQuantizerConfig:
    """``vqvae.quantizers.ProjectedQuantizer`` around ``inner``."""

    kind: Literal["projected"] = "projected"
    channels: Count = 64
    inner: Annotated[
        PlainConfig | ResidualQuantizerConfig | GroupedQuantizerConfig, Field(discriminator="kind")
    ] = Field(default_factory=lambda: EMAQuantizerConfig(dim=8))

    def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> Quantizer:
        """Make the quantizer."""
        from vqvae.quantizers import ProjectedQuantizer

        inner = self.inner.build(forwards_per_update=forwards_per_update, seed=seed)
        return ProjectedQuantizer(inner, self.channels)


QuantizerConfig = Annotated[
    PlainConfig | ResidualQuantizerConfig | GroupedQuantizerConfig | ProjectedQuantizerConfig,
    Field(discriminator="kind"),
]
