"""The distribution functions of logistics and their mixtures, with whole numbers."""

from collections.abc import Callable

import torch
from torch import Tensor

from vqvae.coding.integer.tables import (
    CDF_REACH,
    CDF_STEPS,
    INVERSE,
    LEAST_LOG_SCALE,
    MASS,
    MOST_LOG_SCALE,
    ONE,
    STANDARD,
    exp_of_difference,
    inverse_scale,
    logistic_cdf,
    look_up,
    tanh,
)
from vqvae.errors import UserError
from vqvae.likelihoods import Likelihood, LogisticLikelihood, LogisticMixtureLikelihood
from vqvae.likelihoods.logistic import START, at_ends

_START = round(START * ONE)


class IntegerLogistics:
    """A logistic, or a mixture of logistics that is coupled over channels, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.

    Raises:
        UserError: for a likelihood of another class.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        if type(likelihood) not in (LogisticLikelihood, LogisticMixtureLikelihood):
            raise UserError(
                f"--exact: the likelihood {type(likelihood).__name__} has no integer form; the kinds logistic and "
                "logistic-mixture have one"
            )
        self.likelihood, self.channels = likelihood, likelihood.channels

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights, means, inverse scales and couplings, int64 with components in dimension 1."""
        c, given = self.channels, parameters.long()
        if isinstance(self.likelihood, LogisticMixtureLikelihood):
            each = given.unflatten(1, (self.likelihood.components, -1))
            weights, means, log_scales, couplings = each.split([1, c, c, c * (c - 1) // 2], 2)
            couplings = look_up(tanh(), couplings).long()
            return exp_of_difference(weights[:, :, 0], 1), means, _inverse(log_scales + _START), couplings
        assert isinstance(self.likelihood, LogisticLikelihood)
        if self.likelihood.log_scale is None:
            means, log_scales = given[:, None].chunk(2, 2)
            log_scales = log_scales + _START
        else:
            means = given[:, None]
            log_scales = (self.likelihood.log_scale.detach().double() * ONE).round().long().expand_as(means)
        none = means.new_zeros(len(means), 1, c * (c - 1) // 2, 1, 1)
        return torch.full_like(means[:, :, 0], MASS), means, _inverse(log_scales), none

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v | earlier), as ``Likelihood.cumulative``: multiples of 1 / MASS, so exact.

        Args:
            parameters: whole numbers in units of 1 / ONE, float64 [B, out_channels, H, W].
            earlier: uint8 [B, c, H, W].
        """
        weights, means, inverses, couplings = self._parts(parameters)
        values = [earlier[:, channel, None].long() for channel in range(earlier.shape[1])]
        pair = 0
        for channel in range(earlier.shape[1] + 1):
            mean = means[:, :, channel]
            for value in values[:channel]:
                mean = mean + (couplings[:, :, pair] * _image(value) >> 12)
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


def _inverse(log_scales: Tensor) -> Tensor:
    """Return inverse scales in units of 255 / INVERSE of log-scales in units of 1 / ONE."""
    low, high = LEAST_LOG_SCALE * ONE, MOST_LOG_SCALE * ONE
    return inverse_scale()[log_scales.clamp(low, high) - low]


def _image(values: Tensor) -> Tensor:
    """Return values of 0..255 in [-1, 1], in units of 1 / ONE, rounded."""
    return (2 * ONE * (2 * values - 255) + 255) // 510


def _below(values: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Return p(value < v) of each component in units of 1 / MASS; the tails given to 0 and 255."""
    distance = (2 * values - 256) * ONE - 255 * mean  # in units of 1 / (255 * ONE)
    standard = (distance * inverse) // (ONE * INVERSE // STANDARD)
    reach = CDF_REACH * STANDARD
    place = standard.clamp(-reach, reach) + reach
    step = STANDARD // CDF_STEPS
    index, rest = place // step, place % step
    table = logistic_cdf()
    found = table[index] + (table[index + 1] - table[index]) * rest // step
    return found.masked_fill(values <= 0, 0).masked_fill(values >= 256, MASS)
