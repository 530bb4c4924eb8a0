"""Averaged weights: what is evaluated, sampled from and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightEMA:
    """An exponential moving average of parameters (Polyak averaging).

    The decay grows from 0.1 to its final value, ``min(decay, (1 + t) / (10 + t))``, so that the average is of
    recent weights from the first step on. Buffers are not averaged.

    Args:
        parameters: what is averaged, by name.
        decay: the share that stays at each step, in [0, 1); 0 keeps the latest weights.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.weights = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters after optimizer step ``step`` (from 0) into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from saved averages; KeyError and RuntimeError where they are of another model."""
        for name, own in self.weights.items():
            own.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages in the parameters' place for the duration."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.weights[name] = self.weights[name], parameter.data
