"""Two likelihoods of the outside: a categorical, and a discretised logistic with a learned scale."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from vqvae.likelihoods import Likelihood, LikelihoodConfig


class Categorical(Likelihood):
    """256 logits for each value."""

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["test-categorical"] = "test-categorical"

        def build(self, *, channels):
            return Categorical(channels)

    @property
    def out_channels(self):
        return 256 * self.channels

    def _log_p(self, parameters):
        return parameters.unflatten(1, (self.channels, 256)).log_softmax(2)

    def pixel_nats(self, parameters, pixels):
        return -self._log_p(parameters).gather(2, pixels.long()[:, :, None])[:, :, 0]

    def mean(self, parameters):
        levels = torch.linspace(-1, 1, 256, device=parameters.device)[:, None, None]
        return (self._log_p(parameters.float()).exp() * levels).sum(2)

    def sample(self, parameters, u):
        cumulative = self._log_p(parameters.to(u)).exp().cumsum(2)
        return (cumulative < u[:, :, None]).sum(2).clamp(max=255).to(torch.uint8)


class Logistic(Likelihood):
    """A discretised logistic around the decoder's output; all values share one scale, which is learned.

    Args:
        log_scale: where the logarithm of the scale starts, in the units of images in [-1, 1].
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["test-logistic"] = "test-logistic"
        log_scale: float = -2.0

        def build(self, *, channels):
            return Logistic(channels, log_scale=self.log_scale)

    def __init__(self, channels, *, log_scale=-2.0):
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.tensor(log_scale))

    @property
    def out_channels(self):
        return self.channels

    def pixel_nats(self, parameters, pixels):
        inverse = (-self.log_scale).exp().to(parameters)
        low, high = (((pixels.to(parameters) + side) / 127.5 - 1 - parameters) * inverse for side in (-0.5, 0.5))
        # log(sigmoid(high) - sigmoid(low)), with the tails in the first and the last bin
        inside = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))
        ends = torch.where(pixels == 0, F.logsigmoid(high), F.logsigmoid(-low))
        return -torch.where((pixels == 0) | (pixels == 255), ends, inside)

    def mean(self, parameters):
        return parameters.float()

    def sample(self, parameters, u):
        x = parameters.to(u) + self.log_scale.exp().to(u) * torch.logit(u)
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
