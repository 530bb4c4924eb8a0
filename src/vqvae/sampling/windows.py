"""Grids larger than a prior was trained on: each code is drawn from a window of the trained size."""

from dataclasses import replace

import torch
from torch import Tensor

from vqvae.sampling.protocol import PriorProtocol


class Windowed:
    """A prior over grids of any size: p(code | the earlier codes in a window around it, label).

    The window has the size of the grid that the prior was trained on; along a shorter side, it has the length of
    the side. It is centred at the code and moved inside the grid at the borders. The prior sees the window alone,
    so codes farther away do not matter. Each code costs one pass of the prior over a window.

    Args:
        prior: the prior, in eval mode.
        grid: height and width (h, w) of the grids to draw.
    """

    def __init__(self, prior: PriorProtocol, grid: tuple[int, int]) -> None:
        self.prior = prior
        self.num_classes = prior.num_classes
        self.spec = replace(prior.spec, grid=grid)
        self.window = min(grid[0], prior.spec.grid[0]), min(grid[1], prior.spec.grid[1])

    def __call__(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], of each code given the earlier codes in its window."""
        height, width = codes.shape[1:3]
        rows = [torch.stack([self._at(codes, labels, i, j) for j in range(width)], 1) for i in range(height)]
        return torch.stack(rows, 1)

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> "WindowedCache":
        """Return a cache for ``count`` grids of the spec's size, before their first code."""
        if grid != self.spec.grid:
            raise ValueError(f"grid {grid}: expected {self.spec.grid}")
        return WindowedCache(torch.zeros(count, *self.spec.shape, dtype=torch.int64), labels)

    def step(self, cache: "WindowedCache", previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], given the code before it, int64 [B]."""
        if previous is not None:
            cache.codes = cache.codes.to(previous.device)
            cache.codes.flatten(1)[:, cache.known] = previous
            cache.known += 1
        position, depth = divmod(cache.known, self.spec.codes_per_position)
        return self._at(cache.codes, cache.labels, *divmod(position, self.spec.grid[1]))[:, depth]

    def _at(self, codes: Tensor, labels: Tensor | None, row: int, column: int) -> Tensor:
        """Return the logits of a position, float [B, n, K]."""
        (h, w), (height, width) = self.window, self.spec.grid
        top = min(max(0, row - h // 2), height - h)
        left = min(max(0, column - w // 2), width - w)
        logits = self.prior(codes[:, top : top + h, left : left + w], labels)
        return logits[:, row - top, column - left]


class WindowedCache:
    """The codes drawn so far.

    Attributes:
        codes: int64 [B, h, w, n]; 0 where no code is drawn yet.
        labels: the classes, int64 [B], or None.
        known: number of codes drawn of each grid.
    """

    def __init__(self, codes: Tensor, labels: Tensor | None) -> None:
        self.codes, self.labels, self.known = codes, labels, 0
