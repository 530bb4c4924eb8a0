"""The distribution functions of logistics and their mixtures, with whole numbers."""

from collections.abc import Callable

import torch
from torch import Tensor

from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood, mass_below
from vqvae.coding.integer.tables import (
    LEAST_LOG_SCALE,
    MASS,
    MOST_LOG_SCALE,
    ONE,
    exp_of_difference,
    inverse_scale,
    logistic_cdf,
    look_up,
    tanh,
)
from vqvae.likelihoods import LogisticLikelihood, LogisticMixtureLikelihood
from vqvae.likelihoods.logistic import START, at_ends

_START = round(START * ONE)


@LIKELIHOODS.of(LogisticLikelihood, LogisticMixtureLikelihood)
class IntegerLogistics(IntegerLikelihood):
    """A logistic, or a mixture of logistics that is coupled over channels, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: LogisticLikelihood | LogisticMixtureLikelihood) -> None:
        self.likelihood, self.channels = likelihood, likelihood.channels

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights, means, inverse scales and couplings, int64 with components in dimension 1."""
        c, given = self.channels, parameters.long()
        if isinstance(self.likelihood, LogisticMixtureLikelihood):
            each = given.unflatten(1, (self.likelihood.components, -1))
            weights, means, log_scales, couplings = each.split([1, c, c, c * (c - 1) // 2], 2)
            couplings = look_up(tanh(), couplings).long()
            return exp_of_difference(weights[:, :, 0], 1), means, _inverse(log_scales + _START), couplings
        if self.likelihood.log_scale is None:
            means, log_scales = given[:, None].chunk(2, 2)
            log_scales = log_scales + _START
        else:
            means = given[:, None]
            log_scales = (self.likelihood.log_scale.detach().double() * ONE).round().long().expand_as(means)
        none = means.new_zeros(len(means), 1, c * (c - 1) // 2, 1, 1)
        return torch.full_like(means[:, :, 0], MASS), means, _inverse(log_scales), none

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v | earlier), as ``IntegerLikelihood.cumulative``."""
        weights, means, inverses, couplings = self._parts(parameters)
        values = [earlier[:, channel, None].long() for channel in range(earlier.shape[1])]
        pair = 0
        for channel in range(earlier.shape[1] + 1):
            mean = means[:, :, channel]
            for value in values[:channel]:
                mean = mean + (couplings[:, :, pair] * integer_image(value) >> 12)
                pair += 1
            if channel == len(values):
                return _mixture(weights, mean, inverses[:, :, channel])
            own = values[channel]
            mass = _below(own + 1, mean, inverses[:, :, channel]) - _below(own, mean, inverses[:, :, channel])
            joint = weights * mass.clamp(min=1)
            weights = joint // (joint.amax(1, keepdim=True) // MASS + 1)
        raise AssertionError("a channel follows")


def _mixture(weights: Tensor, mean: Tensor, inverse: Tensor) -> Callable[[Tensor], Tensor]:
    total = weights.sum(1)

    def below(values: Tensor) -> Tensor:
        mass = (weights * _below(values[:, None], mean, inverse)).sum(1) // total
        return at_ends(values, mass.double() / MASS)

    return below


def _below(values: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    return mass_below(values, mean, inverse, logistic_cdf())


def _inverse(log_scales: Tensor) -> Tensor:
    """Return inverse scales in units of 255 / INVERSE of log-scales in units of 1 / ONE."""
    low, high = LEAST_LOG_SCALE * ONE, MOST_LOG_SCALE * ONE
    return inverse_scale()[log_scales.clamp(low, high) - low]


def integer_image(values: Tensor) -> Tensor:
    """Return values of 0..255 in [-1, 1], in units of 1 / ONE, rounded."""
    return (2 * ONE * (2 * values - 255) + 255) // 510
