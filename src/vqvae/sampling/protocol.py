"""What sampling and inpainting know of a prior."""

from typing import Any, Protocol

from torch import Tensor

from vqvae.tensors import CodeSpec


class PriorProtocol(Protocol):
    """A distribution over grids of codes, in raster order, the n codes of a position one after the other.

    ``vqvae.priors.Prior`` is the base class of the priors that are neural networks.

    Attributes:
        spec: of the codes that the prior was trained on; by default, samples have its grid.
        num_classes: of labels; 0 for a prior without classes.
    """

    spec: CodeSpec
    num_classes: int

    def __call__(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], of each code given the codes before it."""
        ...

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> Any:
        """Return a cache for ``count`` grids of (h, w) positions, of which no code is known yet."""
        ...

    def step(self, cache: Any, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K].

        Args:
            cache: of ``start``; it is changed.
            previous: int64 [B], the code before it; None at the first code.
        """
        ...
