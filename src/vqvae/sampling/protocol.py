"""What a prior offers; the sampler and inpainting know nothing else of it."""

from typing import Any, Protocol

from torch import Tensor

from vqvae.tensors import CodeSpec


class Prior(Protocol):
    """A distribution over grids of codes, in raster order, the codes of a position one after the other.

    Attributes:
        spec: of the codes that it was trained on; samples have its grid by default.
        num_classes: of its labels; 0 when it knows none.
    """

    spec: CodeSpec
    num_classes: int

    def __call__(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], of each code given the codes before it."""
        ...

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> Any:
        """Return a fresh cache for ``count`` grids of (h, w) positions."""
        ...

    def step(self, cache: Any, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], after noting the one before it, int64 [B]."""
        ...
