"""A discretised logistic around the decoder's output, with a learned scale (arXiv 1701.05517, section 2.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice
from vqvae.likelihoods.base import Likelihood, LikelihoodConfig

LEVEL = 1 / 127.5  # the distance of two levels, in the units of images in [-1, 1]
START = -2.0  # the logarithm of the scale before training
_LEAST, _MOST = -7.0, 5.0  # of the logarithm of a scale; e^-7 is an eighth of a level


class LogisticLikelihood(Likelihood):
    """A logistic around the decoder's output, discretised to 0..255; its scale is learned.

    Args:
        channels: number of channels C of the images.
        scale: which values share a scale: ``global``, all values; ``channel``, the values of a channel; ``pixel``,
            none, as the decoder makes a scale for each value.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["logistic"] = "logistic"
        scale: Literal["global", "channel", "pixel"] = "pixel"

        def build(self, *, channels: int) -> "LogisticLikelihood":
            """Make the likelihood for images of C channels."""
            return LogisticLikelihood(channels, scale=self.scale)

        def advice(self, key: str) -> Advice:
            """Return what helps if the decoder ignores the codes."""
            if self.scale != "pixel":
                return super().advice(key)
            return Advice("let the values of a channel share one scale", {f"{key}.scale": "channel"})

    def __init__(self, channels: int = 3, *, scale: Literal["global", "channel", "pixel"] = Config.scale) -> None:
        self.Config.check(scale=scale)
        super().__init__(channels)
        self.scale = scale
        shared = None if scale == "pixel" else torch.full((channels if scale == "channel" else 1, 1, 1), START)
        self.log_scale = None if shared is None else nn.Parameter(shared)

    @property
    def out_channels(self) -> int:
        """C means, and C logarithms of scales if values share none."""
        return 2 * self.channels if self.scale == "pixel" else self.channels

    def _mean_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        if self.log_scale is None:
            mean, log_scale = parameters.chunk(2, 1)
            return mean, limited(log_scale + START)
        return parameters, limited(self.log_scale.to(parameters.dtype)).expand_as(parameters)

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p of each value, as ``Likelihood.pixel_nats``."""
        return -logistic_log_mass(pixels, *self._mean_and_log_scale(parameters))

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the mean of the logistic, cut to [-1, 1]."""
        return clipped_logistic_mean(*self._mean_and_log_scale(parameters.float()))

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v) of a channel, as ``Likelihood.cumulative``."""
        mean, log_scale = (each[:, earlier.shape[1]] for each in self._mean_and_log_scale(parameters))
        rate = (-log_scale).exp()
        return lambda values: at_ends(values, torch.sigmoid(standardised(values, mean, rate)))


def limited(log_scale: Tensor) -> Tensor:
    """Return logarithms of scales, between e^-7 and e^5 in the units of images in [-1, 1]."""
    return log_scale.clamp(_LEAST, _MOST)


def standardised(values: Tensor, mean: Tensor, rate: Tensor) -> Tensor:
    """Return (v - 1/2 - mean) * rate, where value v begins; values in 0..256, the others in [-1, 1].

    The rate is 1 / scale.
    """
    return ((values.to(mean.dtype) - 0.5) * LEVEL - 1.0 - mean) * rate


def at_ends(values: Tensor, below: Tensor) -> Tensor:
    """Return p(value < v) with the tails given to 0 and 255: 0 at v = 0, and 1 at v = 256."""
    return below.masked_fill(values <= 0, 0.0).masked_fill(values >= 256, 1.0)


def logistic_log_mass(pixels: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return log p of each value under a discretised logistic, in nats (arXiv 1701.05517, equation 2).

    The probability of value v is the mass of the logistic between v - 1/2 and v + 1/2. The tails belong to 0 and
    255. Written as a sum of logarithms, it does not cancel: ``sigmoid(b) - sigmoid(a)`` is
    ``sigmoid(b) * sigmoid(-a) * (1 - exp(a - b))``.

    Args:
        pixels: uint8, of a shape that broadcasts with the mean's.
        mean: float, in the units of images in [-1, 1].
        log_scale: logarithm of the scale, in the same units.
    """
    rate = (-log_scale).exp()
    low, width = standardised(pixels, mean, rate), LEVEL * rate
    below, above = F.logsigmoid(low + width), F.logsigmoid(-low)
    inside = below + above + torch.log(-torch.expm1(-width))
    return torch.where(pixels == 0, below, torch.where(pixels == 255, above, inside))


def clipped_logistic_mean(mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean of a logistic variable that is cut to [-1, 1]: 1 minus the integral of its distribution."""
    scale = log_scale.exp()
    high, low = (scale * F.softplus((end - mean) / scale) for end in (1.0, -1.0))
    return 1.0 - (high - low)
