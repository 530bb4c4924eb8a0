"""The protocol of priors that sampling and inpainting use."""

from typing import Any, Protocol

from torch import Tensor

from vqvae.tensors import CodeSpec


class PriorProtocol(Protocol):
    """A distribution over grids of codes. Positions are in raster order; the n codes of a position are adjacent.

    ``vqvae.priors.Prior`` is the base class of priors that are neural networks.

    Attributes:
        spec: the spec of the training codes; by default, samples have its grid.
        num_classes: number of classes; 0 for a prior without classes.
    """

    spec: CodeSpec
    num_classes: int

    def __call__(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], of each code given the codes before it."""
        ...

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> Any:
        """Return a cache for ``count`` grids of (h, w) positions, before their first code."""
        ...

    def step(self, cache: Any, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K].

        Args:
            cache: the cache, from ``start``; it is changed in place.
            previous: int64 [B], the previous code; None at the first code.
        """
        ...
