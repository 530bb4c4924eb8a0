"""Residual quantization: each layer quantizes what the layers before left over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import Advice, Count
from vqvae.quantizers.base import Quantizer, QuantizerConfig
from vqvae.quantizers.compose import layers_of, merged
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.quantizers.layout import Estimator, map_of, straight_through, vectors_of
from vqvae.quantizers.rotation import EstimatorName, estimator_named
from vqvae.quantizers.update_counter import UpdateCounter, learns
from vqvae.tensors import Quantized


class ResidualQuantizer(nn.Module):
    """A stack of quantizers (RQ-VAE, arXiv 2203.01941, section 3.1; SoundStream, arXiv 2107.03312, section III-C).

    ::

        r_0 = z_e,   z_d = quantize_d(r_(d-1)),   r_d = r_(d-1) - sg[z_d],   z_q = z_1 + ... + z_depth

    The gradient goes straight from z_q to z_e once; each layer's losses, on its residual, are summed over the
    layers. When to choose it: for fine reconstructions at a small K, K^depth combinations with K * depth codes,
    and for one model of several rates.

    Quantizer dropout trains the first layers to serve alone: in a share of the updates only the first m layers
    run, m uniform on 1 .. depth, both a function of (seed, updates). The codes of the others are then -1, which
    ``embed`` takes as nothing added, so ``embed(codes)`` is z_q there too. ``embed(codes[..., :m])`` is the
    coarse z_q of any codes.

    Args:
        layers: quantizers of equal channels, num_codes and codes_per_position, coarsest first; their codes lie
            side by side, so n is depth times theirs.
        dropout: the share of updates whose depth is drawn.
        estimator: of the gradient, over all channels at once; the layers' own are not used.
        forwards_per_update: training forwards that one update spans; the same as the layers'.
        seed: of the depths.

    Raises:
        ValueError: when there are no layers or they differ.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class.

        Attributes:
            depth: number of layers.
            inner: the quantizer of each layer.
        """

        kind: Literal["residual"] = "residual"
        depth: Count = 4
        inner: QuantizerConfig = field(default_factory=EMAQuantizer.Config)
        dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
        estimator: EstimatorName = "straight_through"

        def __post_init__(self) -> None:
            """Refuse a stack of stacks: the codes of dropped layers would be lost in it."""
            if isinstance(self.inner, ResidualQuantizer.Config):
                raise ValueError("inner must not be residual: make this stack deeper")

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "ResidualQuantizer":
            """Make the quantizer; each layer has a seed of its own."""
            how: dict[str, Any] = {"forwards_per_update": forwards_per_update}
            return ResidualQuantizer(
                [self.inner.build(seed=seed + layer, **how) for layer in range(self.depth)],
                dropout=self.dropout,
                estimator=estimator_named(self.estimator),
                seed=seed,
                **how,
            )

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    def __init__(
        self,
        layers: Sequence[Quantizer],
        *,
        dropout: float = Config.dropout,
        estimator: Estimator = straight_through,
        forwards_per_update: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.layers = layers_of(layers, "channels", "num_codes", "codes_per_position")
        self.num_codes = layers[0].num_codes
        self.codes_per_position = len(layers) * layers[0].codes_per_position
        self.channels = layers[0].channels
        self.dropout = dropout
        self.estimator = estimator
        self.seed = seed
        self.update_counter = UpdateCounter(forwards_per_update)

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; positions where mask, bool [B, h, w], is False count for nothing."""
        if learns(self):
            if self.update_counter.due:
                self.update()
            self.update_counter.forwards += 1
        residual, results = z_e.float(), list[Quantized]()
        for layer in self.layers[: self.depth()]:
            results.append(layer(residual, mask))
            residual = residual - results[-1].z_q.detach()
        codes = torch.cat([result.codes for result in results], dim=3)
        dropped = self.codes_per_position - codes.shape[3]
        codes = torch.cat([codes, codes.new_full((*codes.shape[:3], dropped), -1)], dim=3)
        z_q = self.embed(codes)
        through = map_of(self.estimator(vectors_of(z_e, 1), vectors_of(z_q, 1)), z_e)
        return Quantized(
            # + 0: the gradient of parameters between codes and z_q, such as a ProjectedQuantizer's map
            z_q=through + (z_q - z_q.detach()),
            codes=codes,
            codebook_loss=torch.stack([result.codebook_loss for result in results]).sum(),
            commitment_loss=torch.stack([result.commitment_loss for result in results]).sum(),
        )

    def depth(self) -> int:
        """Return how many layers run: in training with dropout, a function of (seed, updates); else all."""
        if not self.training or not self.dropout:
            return len(self.layers)
        whether, how_many = (
            float(noise.uniform(self.seed, int(self.update_counter.updates), 0, i)) for i in (0, 1)
        )
        return 1 + int(how_many * len(self.layers)) if whether < self.dropout else len(self.layers)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, D, h, w], of codes, int64 [B, h, w, n] or fewer; -1 adds nothing."""
        n = self.codes_per_position // len(self.layers)
        z_q = self.layers[0].embed(codes[..., :n])
        for layer, part in zip(self.layers[1:], codes.split(n, dim=3)[1:], strict=False):
            z_q = z_q + torch.where((part >= 0).all(3)[:, None], layer.embed(part.clamp(min=0)), 0.0)
        return z_q

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        residual, unsure = z_e.float(), torch.zeros_like(z_e[:, 0], dtype=torch.bool)
        for layer in self.layers:
            unsure = unsure | layer.is_ambiguous(residual, tolerance)  # while all before are sure, all moves alike
            residual = residual - layer(residual).z_q
        return unsure

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update every layer. Returns their metrics, summed."""
        self.update_counter.tick()
        return merged(layer.update(revive=revive) for layer in self.layers)
