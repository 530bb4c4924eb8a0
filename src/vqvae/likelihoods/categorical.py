"""A probability for each of the 256 levels of each value (arXiv 1601.06759, section 3.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.component import Advice
from vqvae.likelihoods.base import Likelihood, LikelihoodConfig

LEVELS = 256


class CategoricalLikelihood(Likelihood):
    """A categorical distribution over 0..255 for each value: the decoder makes 256 logits for each.

    It assumes nothing about the order of the levels, and takes the most memory of all likelihoods.

    Args:
        channels: number of channels C of the images.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["categorical"] = "categorical"

        def build(self, *, channels: int) -> "CategoricalLikelihood":
            """Make the likelihood for images of C channels."""
            return CategoricalLikelihood(channels)

        def advice(self, key: str) -> Advice:
            """Return what helps if the decoder ignores the codes."""
            return Advice("use a likelihood that knows the order of the levels", {f"{key}.kind": "logistic"})

    @property
    def out_channels(self) -> int:
        """256 * C: a logit for each level of each value."""
        return LEVELS * self.channels

    def _log_masses(self, parameters: Tensor) -> Tensor:
        """Return log p of each level, [B, C, 256, H, W]."""
        return parameters.unflatten(1, (self.channels, LEVELS)).log_softmax(2)

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p of each value, as ``Likelihood.pixel_nats``."""
        logits = parameters.unflatten(1, (self.channels, LEVELS)).transpose(1, 2)
        return F.cross_entropy(logits, pixels.long(), reduction="none")

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the mean level."""
        levels = torch.linspace(-1.0, 1.0, LEVELS, device=parameters.device)[:, None, None]
        return (self._log_masses(parameters.float()).exp() * levels).sum(2)

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v) of a channel, as ``Likelihood.cumulative``."""
        logits = parameters.unflatten(1, (self.channels, LEVELS))[:, earlier.shape[1]]
        below = F.pad(logits.softmax(1).cumsum(1), (0, 0, 0, 0, 1, 0)).clamp(max=1.0)
        below[:, LEVELS] = 1.0
        return lambda values: below.gather(1, values[:, None])[:, 0]
