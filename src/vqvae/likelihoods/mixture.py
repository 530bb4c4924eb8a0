"""A mixture of discretised logistics, coupled over the channels of a pixel (arXiv 1701.05517, section 2)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vqvae.component import Advice, Count
from vqvae.likelihoods.base import Likelihood, LikelihoodConfig
from vqvae.likelihoods.logistic import (
    START,
    at_ends,
    clipped_logistic_mean,
    limited,
    logistic_log_mass,
    standardised,
)
from vqvae.tensors import images_from_pixels


class _Parts(NamedTuple):
    """The decoder's output by its meaning; M components, C channels.

    Attributes:
        log_weights: float [B, M, H, W], the logarithms of the components' weights.
        means: float [B, M, C, H, W].
        log_scales: float [B, M, C, H, W].
        couplings: float [B, M, C * (C - 1) / 2, H, W], in (-1, 1): what each channel takes of each one before it.
    """

    log_weights: Tensor
    means: Tensor
    log_scales: Tensor
    couplings: Tensor


class LogisticMixtureLikelihood(Likelihood):
    """A mixture of logistics for a whole pixel, discretised to 0..255.

    Within a component, the mean of green depends linearly on the value of red, and the mean of blue on the values
    of red and green (equation 3). The pixels of an image are independent given the codes.

    Args:
        channels: number of channels C of the images.
        components: number of logistics M.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["logistic-mixture"] = "logistic-mixture"
        components: Count = 5

        def build(self, *, channels: int) -> "LogisticMixtureLikelihood":
            """Make the likelihood for images of C channels."""
            return LogisticMixtureLikelihood(channels, components=self.components)

        def advice(self, key: str) -> Advice:
            """Return what helps if the decoder ignores the codes."""
            if self.components == 1:
                return super().advice(key)
            return Advice("use fewer components", {f"{key}.components": f"{self.components // 2}"})

    def __init__(self, channels: int = 3, *, components: int = Config.components) -> None:
        self.Config.check(components=components)
        super().__init__(channels)
        self.components = components

    @property
    def _pairs(self) -> int:
        return self.channels * (self.channels - 1) // 2

    @property
    def out_channels(self) -> int:
        """M * (1 + 2 * C + C * (C - 1) / 2): a weight, C means and log-scales, and couplings; 10 M for RGB."""
        return self.components * (1 + 2 * self.channels + self._pairs)

    def _parts(self, parameters: Tensor) -> _Parts:
        c = self.channels
        each = parameters.unflatten(1, (self.components, -1))
        weights, means, log_scales, couplings = each.split([1, c, c, self._pairs], 2)
        return _Parts(weights[:, :, 0].log_softmax(1), means, limited(log_scales + START), torch.tanh(couplings))

    def _channels(self, parts: _Parts, earlier: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield mean and log-scale of each channel in turn, [B, M, H, W], given the values of those before it.

        Args:
            parts: the decoder's output.
            earlier: the values in [-1, 1], [B, 1, H, W] or [B, M, H, W], to which the caller adds each channel's.
        """
        pair = 0
        for channel in range(self.channels):
            mean = parts.means[:, :, channel]
            for value in earlier[:channel]:
                mean = mean + parts.couplings[:, :, pair] * value
                pair += 1
            yield mean, parts.log_scales[:, :, channel]

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p of each pixel, [B, 1, H, W], as ``Likelihood.pixel_nats``."""
        parts = self._parts(parameters)
        joint, _ = self._joint(parts, pixels)
        return -joint.logsumexp(1, keepdim=True).clamp(max=0.0)  # a rounding error may lead above 0

    def _joint(self, parts: _Parts, earlier: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Return log p of component and the channels that are given; and mean and log-scale of the next one."""
        images = images_from_pixels(earlier).to(parts.means.dtype)
        values = [images[:, channel, None] for channel in range(earlier.shape[1])]
        joint = parts.log_weights
        for channel, (mean, log_scale) in enumerate(self._channels(parts, values)):
            if channel == len(values):
                return joint, (mean, log_scale)
            joint = joint + logistic_log_mass(earlier[:, channel, None], mean, log_scale)
        return joint, None

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the mean image; a channel's mean given the means of the channels before it."""
        parts, found = self._parts(parameters.float()), list[Tensor]()
        for mean, log_scale in self._channels(parts, found):
            found.append(clipped_logistic_mean(mean, log_scale))
        return (torch.stack(found, 2) * parts.log_weights.exp()[:, :, None]).sum(1)

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v | the channels before), as ``Likelihood.cumulative``."""
        joint, following = self._joint(self._parts(parameters), earlier)
        assert following is not None, f"{earlier.shape[1]} channels are given, all that an image has"
        mean, log_scale = following
        weights = joint.softmax(1)  # of the components, given the channels before
        rate = (-log_scale).exp()

        def below(values: Tensor) -> Tensor:
            each = torch.sigmoid(standardised(values[:, None], mean, rate))
            return at_ends(values, (weights * each).sum(1).clamp(max=1.0))

        return below
