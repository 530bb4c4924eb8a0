"""Averaged weights, which are measured, sampled from and saved in model files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightEMA:
    """An exponential moving average of parameters (Polyak averaging).

    The decay at step t is ``min(decay, (1 + t) / (10 + t))``. It grows from 0.1 to its final value, so that the
    initial weights lose their influence early in training. Buffers are not averaged.

    Args:
        parameters: the parameters to average, by name.
        decay: final decay, in [0, 1): the factor of the old average at each step; 0 takes the latest weights.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.weights = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the parameters after optimizer step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load saved averages; KeyError or RuntimeError if they do not fit."""
        for name, own in self.weights.items():
            own.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the parameters for the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.weights[name] = self.weights[name], parameter.data
