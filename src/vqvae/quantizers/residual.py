"""Residual quantization: each layer quantizes the error of the layers before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import Advice, Count
from vqvae.quantizers.base import NumCodes, Quantizer, QuantizerConfig
from vqvae.quantizers.compose import check_alike, merged, within
from vqvae.quantizers.ema import EMAQuantizer
from vqvae.quantizers.estimators import Estimator, EstimatorName, estimator_named, straight_through
from vqvae.quantizers.update_counter import UpdateCounter
from vqvae.tensors import Quantized


class ResidualQuantizer(Quantizer):
    """A stack of quantizers; each quantizes the error of those before it (RQ-VAE, arXiv 2203.01941, section 3.1).

    ::

        r_0 = z_e,   z_d = s_d quantize_d(r_(d-1) / s_d),   r_d = r_(d-1) - sg[z_d],   z_q = z_1 + ... + z_depth

    The scale s_d is 1 for layers that learn the size of their residual (``vq``, ``ema``, ``simvq``,
    ``projected``). For layers whose codes are fixed, the scale shrinks with the depth by their ``residual_scale``.
    For ``LFQ`` and ``BSQ`` it is s_d = 2^-(d-1). For ``FSQ``, the L levels of a depth divide one step of the depth
    before it. If a layer bounds or normalises z_e first (``FSQ``, ``BSQ``), r_0 is the bounded z_e. Kinds whose
    error would not fall with every depth are refused.

    The gradient passes from z_q to r_0 once. The losses of the layers, each on its residual, are summed. When to
    choose it: for fine reconstructions with a small K, since K * depth codes give K^depth combinations, and for
    one model with several rates.

    Quantizer dropout (SoundStream, arXiv 2107.03312, section III-C) trains the first layers to work alone. In a
    share of the updates, only the first m layers run, with m uniform on 1 .. depth. Whether and how many is a
    function of (seed, updates). The codes of the other layers are then -1, for which ``embed`` adds nothing.
    ``embed(codes[..., :m])`` is the coarse z_q of any codes.

    K is the largest num_codes of the layers. A layer with fewer codes never returns a code beyond its own;
    ``embed`` replaces such a code, which only a prior can draw, by the layer's last code.

    Args:
        layers: the quantizers, coarsest first: different objects with equal channels and codes_per_position. n is
            the sum of their codes per position.
        dropout: share of the updates in which a random number of the first layers runs, in [0, 1].
        estimator: how the gradient passes to z_e, over all channels at once: ``straight_through`` or ``rotation``
            (``rotation_trick``). The layers' own estimators are not used.
        forwards_per_update: number of training forwards between two updates, the same as the layers'.
        seed: seed of the depths that dropout draws.
        channel_last: whether z_e is [B, *spatial, D] instead of [B, D, *spatial].

    Raises:
        ValueError: when there are no layers, when a layer is given twice, when the layers differ or cannot be
            stacked, and for an argument out of its range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class.

        Attributes:
            depth: number of layers.
            inner: the quantizer of each layer.
            codebook_sizes: number of codes of each layer, coarsest first; an empty list takes the inner
                quantizer's number for all.
        """

        kind: Literal["residual"] = "residual"
        depth: Count = 4
        inner: QuantizerConfig = field(default_factory=EMAQuantizer.Config)
        codebook_sizes: tuple[NumCodes, ...] = ()
        dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
        estimator: EstimatorName = "straight_through"

        def __post_init__(self) -> None:
            """Refuse settings that the layer refuses, and numbers of codes that do not fit the layers."""
            if isinstance(self.inner, ResidualQuantizer.Config):
                raise ValueError(f"inner must not be residual: {ResidualQuantizer.no_residual_because}")
            sizes = self.codebook_sizes
            if sizes and len(sizes) != self.depth:
                raise ValueError(f"codebook_sizes of {len(sizes)} layers: expected {self.depth}, one of each")
            if sizes and "num_codes" not in {setting.name for setting in fields(self.inner)}:
                raise ValueError(f"codebook_sizes: the inner quantizer {self.inner.kind} has no num_codes")

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "ResidualQuantizer":
            """Make the quantizer; each layer has a seed of its own."""
            self.check(depth=self.depth, codebook_sizes=self.codebook_sizes)
            inner = [replace(self.inner, num_codes=size) for size in self.codebook_sizes]
            return ResidualQuantizer(
                [
                    layer.build(forwards_per_update=forwards_per_update, seed=seed + number)
                    for number, layer in enumerate(inner or [self.inner] * self.depth)
                ],
                dropout=self.dropout,
                estimator=estimator_named(self.estimator),
                forwards_per_update=forwards_per_update,
                seed=seed,
            )

        def shares_codebook(self) -> bool:
            """Return whether several codes of a position are chosen from one codebook of the inner quantizer."""
            return self.inner.shares_codebook()

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return self.inner.advice(f"{key}.inner")

    keeps_float32 = False
    no_residual_because = "it is a stack already: make it deeper"

    def __init__(
        self,
        layers: Sequence[Quantizer],
        *,
        dropout: float = Config.dropout,
        estimator: Estimator = straight_through,
        forwards_per_update: int = 1,
        seed: int = 0,
        channel_last: bool = False,
    ) -> None:
        self.Config.check(dropout=dropout)
        _check_stack(layers)
        super().__init__(
            num_codes=max(layer.num_codes for layer in layers),
            channels=layers[0].channels,
            codes_per_position=len(layers) * layers[0].codes_per_position,
            channel_last=channel_last,
        )
        self.layers: Sequence[Quantizer] = nn.ModuleList(layers)  # pyright: ignore[reportAttributeAccessIssue]
        self.dropout = dropout
        self.estimator = estimator
        self.seed = seed
        self.update_counter = UpdateCounter(forwards_per_update)

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of the n codes of a vector chooses from, coarsest layer first."""
        return sum((layer.code_sizes for layer in self.layers), start=())

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float [N, D]."""
        if self.training:
            self.update_counter.count_forward(self)
        vectors = vectors.float()
        latents = self.latents_of(vectors)
        residual = latents
        results: list[Quantized] = []
        for depth in range(self.depth()):
            results.append(self._quantize(depth, residual if depth else vectors, mask))
            residual = residual - results[-1].z_q.detach()
        codes = torch.cat([result.codes for result in results], dim=1)
        dropped = self.codes_per_position - codes.shape[1]
        codes = torch.cat([codes, codes.new_full((codes.shape[0], dropped), -1)], dim=1)
        z_q = self.embed_vectors(codes)
        return Quantized(
            # + 0: the gradient of parameters between codes and z_q, such as a ProjectedQuantizer's map
            z_q=self.estimator(latents, z_q) + (z_q - z_q.detach()),
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

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes [N, n], or of the first layers' alone; -1 adds nothing."""
        n = self.codes_per_position // len(self.layers)
        z_q = torch.zeros(())
        for depth, (layer, part) in enumerate(zip(self.layers, codes.split(n, dim=1), strict=False)):
            vectors = _times(
                layer.embed_vectors(within(part.clamp(min=0), layer, self.num_codes)), self._scale(depth)
            )
            z_q = z_q + torch.where((part >= 0).all(1)[:, None], vectors, 0.0) if depth else vectors
        return z_q

    def latents_of(self, vectors: Tensor) -> Tensor:
        """Return r_0: the vectors, as the first layer bounds them."""
        return self.layers[0].latents_of(vectors)

    def takes_codes(self, number: int) -> bool:
        """Say whether these are the codes of whole layers."""
        return (
            0 < number <= self.codes_per_position and number % (self.codes_per_position // len(self.layers)) == 0
        )

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, D] could get another code if they moved by the tolerance [N]: bool [N]."""
        vectors, first = vectors.float(), self.layers[0]
        marked = first.ambiguous_vectors(vectors, tolerance)
        tolerance = first.latent_tolerance(vectors, tolerance)
        residual = self.latents_of(vectors) - self._quantize(0, vectors, None).z_q
        # as long as no earlier code may change, the residual moves as far as the vector
        for depth, layer in enumerate(self.layers[1:], start=1):
            scale = self._scale(depth)
            smallest = scale.amin() if isinstance(scale, Tensor) else scale
            marked = marked | layer.ambiguous_residual(residual / scale, tolerance / smallest)
            residual = residual - self._quantize(depth, residual, None).z_q
        return marked

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Update every layer. Returns their metrics, summed."""
        self.update_counter.tick()
        return merged(layer.update(revive=revive) for layer in self.layers)

    def _scale(self, depth: int) -> float | Tensor:
        """Return s_d of a depth from 0: a number, or a number of each channel, [D]."""
        scale: float | Tensor = 1.0
        for layer in self.layers[:depth]:
            assert layer.residual_scale is not None
            scale = scale * layer.residual_scale
        return scale

    def _quantize(self, depth: int, residual: Tensor, mask: Tensor | None) -> Quantized:
        """Return a layer's result for its residual [N, D]; the first layer quantizes the vectors themselves."""
        layer, scale = self.layers[depth], self._scale(depth)
        if depth == 0:
            return layer(residual, mask)
        if isinstance(scale, float) and scale == 1.0:
            return layer.quantize_residual(residual, mask)
        found = layer.quantize_residual(residual / scale, mask)
        size = torch.as_tensor(scale).square().mean()
        return found._replace(z_q=found.z_q * scale, commitment_loss=found.commitment_loss * size)


def _times(vectors: Tensor, scale: float | Tensor) -> Tensor:
    return vectors if isinstance(scale, float) and scale == 1.0 else vectors * scale


def _check_stack(layers: Sequence[Quantizer]) -> None:
    check_alike(layers, "channels", "codes_per_position")
    for layer in layers:
        if layer.residual_scale is None:
            raise ValueError(f"{type(layer).__name__} cannot be stacked: {layer.no_residual_because}")
    if len(set(map(id, layers))) < len(layers):
        raise ValueError("the same quantizer object at two depths: pass a quantizer of its own for each depth")
    learned = {isinstance(layer.residual_scale, float) and layer.residual_scale == 1.0 for layer in layers}
    if len(learned) > 1:
        raise ValueError("some layers have fixed codes, and others learn theirs: use one sort only")
