"""An exported prior as a prior: what sampling and inpainting need, made of opened files."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vqvae.export.formats import RunGraph
from vqvae.priors import Prior, PriorSteps
from vqvae.tensors import CodeSpec, Labels


class SteppedPrior:
    """A prior that runs the exported ``prior``, ``prior-row``, ``prior-position`` and ``prior-head``.

    Args:
        run: the opened files, by name.
        prior: says the spec, the number of classes, and the arguments at the start. Its weights are not used.
    """

    def __init__(self, run: Mapping[str, RunGraph], prior: Prior) -> None:
        self.run = run
        self.spec: CodeSpec = prior.spec
        self.num_classes = prior.num_classes
        self.steps = prior.steps()

    def __call__(self, codes: Tensor, labels: Labels | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], as ``Prior`` does."""
        return self.run["prior"]({"codes": codes, "labels": self._rows(labels, len(codes))})["logits"]

    def start(self, count: int, grid: tuple[int, int], labels: Labels | None = None) -> "SteppedCache":
        """Return the cache of ``count`` grids before their first code."""
        return SteppedCache(self, count, grid, self._rows(labels, count))

    def step(self, cache: "SteppedCache", previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K]."""
        return cache.step(previous)

    def _rows(self, labels: Labels | None, count: int) -> Tensor:
        return torch.as_tensor(self.num_classes if labels is None else labels).expand(count).contiguous()


class SteppedCache:
    """Grids of codes that are filled code by code."""

    def __init__(self, prior: SteppedPrior, count: int, grid: tuple[int, int], labels: Tensor) -> None:
        self.prior, self.grid = prior, grid
        self.codes = torch.zeros(count, *grid, prior.spec.codes_per_position, dtype=torch.int64)
        self.known = 0
        self.values = {"labels": labels}
        if prior.steps is not None:
            self.values |= prior.steps.start(count, grid)

    def step(self, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], given the code before it, int64 [B]."""
        if previous is not None:
            self.codes.view(len(self.codes), -1)[:, self.known] = previous
            self.known += 1
        position, place = divmod(self.known, self.prior.spec.codes_per_position)
        if self.prior.steps is None:
            logits = self.prior(self.codes, self.values["labels"])
            return logits.flatten(1, 3)[:, self.known]
        if place == 0:
            self._move_to(position, self.prior.steps)
        own = {"features": self.values["features"], "codes": self.codes.flatten(1, 2)[:, position]}
        return self.prior.run["prior-head"](own)["logits"][:, place]

    def _move_to(self, position: int, steps: PriorSteps) -> None:
        row, column = divmod(position, self.grid[1])
        before = divmod(position - 1, self.grid[1]) if position else (0, -1)
        values = self.values
        values["at"], values["before"] = torch.tensor([row, column]), torch.tensor(before)
        values["previous"] = self.codes.flatten(1, 2)[:, max(0, position - 1)]
        values["above"] = self.codes[:, max(0, row - 1)]
        if steps.row is not None and column == 0:
            self._call("prior-row")
        self._call("prior-position")

    def _call(self, name: str) -> None:
        found = self.prior.run[name](self.values)
        self.values |= {key.removeprefix("next_"): value for key, value in found.items()}
