"""Averaged weights: the weights that are evaluated, sampled from and saved in model files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightEMA:
    """An exponential moving average of parameters (Polyak averaging).

    The decay grows from 0.1 to its final value, ``min(decay, (1 + t) / (10 + t))``, so the average forgets the
    starting weights early in training. Buffers are not averaged.

    Args:
        parameters: to average, by name.
        decay: the share of the average that is kept at each step, in [0, 1); 0 keeps the latest weights.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.weights = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the parameters after optimizer step ``step`` (from 0) to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from saved averages; KeyError or RuntimeError where they are another module's."""
        for name, own in self.weights.items():
            own.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold the averages in the parameters for the duration."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.weights[name] = self.weights[name], parameter.data
