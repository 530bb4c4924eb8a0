"""The base class of priors, and the base of their configs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice, Config, Count, CountOrZero, check_values
from vqvae.priors.cache import Cache
from vqvae.priors.codes import CodeEmbedding, CodeHead
from vqvae.priors.steps import PriorSteps
from vqvae.sampling import Controls, sample
from vqvae.tensors import CodeSpec, Labels, checked_codes, checked_labels

_SPEC_TYPES = {
    "grid": tuple[Count, Count],
    "codes_per_position": Count,
    "num_codes": Count,
    "num_classes": CountOrZero,
}


@dataclass(frozen=True, kw_only=True)
class PriorModelConfig(Config):
    """Settings of a prior's network; each kind adds its own settings and says how to build its prior."""

    default_kind: ClassVar[str | None] = "pixelcnn"

    def build(self, spec: CodeSpec, *, num_classes: int = 0) -> Prior:
        """Make the prior.

        Args:
            spec: shape and range of the codes that it models.
            num_classes: number of classes; 0 for a prior without classes.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the prior")

    def arguments(self, spec: CodeSpec, num_classes: int) -> dict[str, Any]:
        """Return the arguments of the prior's constructor: settings, spec of the codes, number of classes."""
        n = spec.codes_per_position
        given = {"num_codes": spec.num_codes, "codes_per_position": n, "grid": spec.grid}
        return {**given, "num_classes": num_classes, **self.settings()}

    def blindness(self, grid: tuple[int, int]) -> str:
        """Return a line about earlier codes of a grid (h, w) that the prior cannot see; empty if it sees all."""
        return ""

    def advice(self, key: str) -> Advice:
        """Return what helps against overfitting.

        Args:
            key: the key of this config in the run's config, such as ``model``.
        """
        dropout: float | None = getattr(self, "dropout", None)
        if dropout is None:
            return Advice("make the model smaller", {})
        return Advice("drop out more", {f"{key}.dropout": f"{min(0.5, dropout + 0.1):.2g}"})


class Prior(nn.Module):
    """p(codes | label): the product of p(code | the codes before it, label) over all codes.

    Positions are in raster order; the n codes of a position follow one another.

    A subclass creates ``embedding`` and ``head`` in its constructor and defines ``features``. With no more than
    these it trains and samples. ``cache`` makes sampling fast, and ``sharding_units`` lets its layers be spread
    over devices one by one.

    Args:
        spec: shape and range of the codes.
        num_classes: number of classes; 0 for a prior without classes.

    Raises:
        ValueError: for a spec without positions or codes, and for fewer than 0 classes.
    """

    embedding: CodeEmbedding
    head: CodeHead

    def __init__(self, spec: CodeSpec, *, num_classes: int = 0) -> None:
        check_values(_SPEC_TYPES, {**asdict(spec), "num_classes": num_classes})
        super().__init__()
        self.spec = spec
        self.num_classes = num_classes

    def features(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return features, float [B, h, w, width]; those of a position depend on earlier positions alone.

        Args:
            codes: int64 [B, h, w, n], of any grid.
            labels: int64 [B], in 0 .. num_classes; ``num_classes`` means no class.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define features")

    def cache(self, count: int, grid: tuple[int, int], labels: Tensor) -> Cache:
        """Return a cache for ``count`` grids of (h, w) positions, before their first code.

        The default cache runs the whole network for each code; a subclass can define a faster one.

        Args:
            count: number of grids B.
            grid: height and width (h, w) in positions.
            labels: int64 [B], as in ``features``.
        """
        return WholeGridCache(self, count, grid, labels)

    def steps(self) -> PriorSteps | None:
        """Return the prior's step as functions without memory, for exports.

        By default there are none; an exported prior then computes the whole grid for each code.
        """
        return None

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose parameters FSDP gathers together, inner modules before outer ones."""
        return [self]

    def forward(self, codes: Tensor, labels: Labels | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K]; those of a code depend on the codes before it alone.

        Args:
            codes: integers [B, h, w, n], or [B, h, w] if n = 1, of any integer type and any grid.
            labels: the class of each image, integers [B], or one integer for all. Label ``num_classes`` and None
                mean no class.

        Raises:
            ValueError: for codes or labels of another type, shape or range, and for labels if the prior has no
                classes. Training on a GPU skips the check of the range, which would wait for the GPU at each step.
        """
        codes = self._checked(codes)
        return self.head(self.features(codes, self._rows(labels, codes.shape[0])), codes)

    def code_nats(self, codes: Tensor, labels: Labels | None = None) -> Tensor:
        """Return -log p of each code given the codes before it and the label, in nats, float [B, h, w, n].

        In float32, or in float64 for a prior in float64. Arguments and errors are those of ``forward``.
        """
        codes = self._checked(codes)
        logits: Tensor = self(codes, labels)
        precise = logits if logits.dtype == torch.float64 else logits.float()
        return F.cross_entropy(precise.flatten(0, 3), codes.flatten(), reduction="none").view(codes.shape)

    def log_prob(self, codes: Tensor, labels: Labels | None = None) -> Tensor:
        """Return log p(codes | labels) in nats, float [B]; arguments and errors are those of ``forward``."""
        return -self.code_nats(codes, labels).flatten(1).sum(1)

    def start(self, count: int, grid: tuple[int, int], labels: Labels | None = None) -> Cache:
        """Return a cache for ``count`` grids of (h, w) positions; ``step`` goes on from it.

        Raises:
            ValueError: for labels that do not fit, as ``forward``.
        """
        return self.cache(count, grid, self._rows(labels, count))

    def step(self, cache: Cache, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K].

        Args:
            cache: the cache that ``start`` returned; this call changes it.
            previous: int64 [B], the code before the next code; None at the first code.
        """
        return cache.step(previous)

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float = 1.0,
        labels: Labels | None = None,
        **how: Any,
    ) -> Tensor:
        """Draw ``num`` grids of codes, int64 [num, h, w, n]: ``vqvae.sampling.sample`` of this prior."""
        controls = Controls(temperature, top_k, top_p, guidance)
        return sample(self, num, seed=seed, controls=controls, labels=labels, **how)

    @property
    def _device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def _may_look(self) -> bool:
        return not self.training or self._device.type == "cpu"

    def _checked(self, codes: Tensor) -> Tensor:
        n, num_codes = self.spec.codes_per_position, self.spec.num_codes
        codes = codes.to(self._device)
        return checked_codes(codes, codes_per_position=n, num_codes=num_codes, check_range=self._may_look)

    def _rows(self, labels: Labels | None, count: int) -> Tensor:
        if labels is None:
            return torch.full((count,), self.num_classes, device=self._device)
        classes = self.num_classes
        rows = checked_labels(labels, count=count, num_classes=classes, check_range=self._may_look)
        return rows.to(self._device)


class WholeGridCache:
    """Hold the codes so far, and run the prior on the whole grid at each step."""

    def __init__(self, prior: Prior, count: int, grid: tuple[int, int], labels: Tensor) -> None:
        self.prior, self.labels = prior, labels
        self.codes = torch.zeros(count, *grid, prior.spec.codes_per_position, dtype=torch.int64).to(labels.device)
        self.known = 0

    @torch.no_grad()
    def step(self, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], given the code before it, int64 [B]."""
        if previous is not None:
            self.codes.view(len(self.codes), -1)[:, self.known] = previous
            self.known += 1
        logits: Tensor = self.prior(self.codes, self.labels if self.prior.num_classes else None)
        return logits.flatten(1, 3)[:, self.known]
