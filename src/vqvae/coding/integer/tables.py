"""Nonlinear functions as tables of integers, equal on every machine.

``Decimal.exp`` rounds correctly, so an entry depends on nothing but its argument. The exponential of a C library
may differ in its last bit between machines.
"""

from decimal import Decimal, localcontext
from functools import cache

import torch
from torch import Tensor

ONE = 2**12  # an activation of 1
MASS = 2**24  # a probability of 1
STANDARD = 2**16  # a standardised value of 1
INVERSE = 2**26  # an inverse scale of 255
LEAST_LOG_SCALE, MOST_LOG_SCALE = -7, 5
_GATE_REACH = 8  # tanh and sigmoid are taken as constant beyond this argument
_EXP_REACH = 17  # exp(-17) is below 2^-24
CDF_REACH, CDF_STEPS = 16, 256  # the distribution function: its range, and entries for each 1
_DIGITS = 30


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value())


def _exp(numerator: int, denominator: int) -> Decimal:
    return (Decimal(numerator) / denominator).exp()


@cache
def tanh() -> Tensor:
    """Return tanh in units of 1 / ONE at arguments -8 * ONE .. 8 * ONE, float64."""
    with localcontext(prec=_DIGITS):
        half = [
            _rounded(ONE * (1 - e) / (1 + e)) for e in (_exp(-2 * i, ONE) for i in range(_GATE_REACH * ONE + 1))
        ]
    return torch.tensor([-value for value in half[:0:-1]] + half, dtype=torch.float64)


@cache
def sigmoid() -> Tensor:
    """Return the sigmoid in units of 1 / ONE at arguments -8 * ONE .. 8 * ONE, float64."""
    with localcontext(prec=_DIGITS):
        half = [_rounded(ONE / (1 + _exp(-i, ONE))) for i in range(_GATE_REACH * ONE + 1)]
    return torch.tensor([ONE - value for value in half[:0:-1]] + half, dtype=torch.float64)


@cache
def exp() -> Tensor:
    """Return the exponential of -i / ONE in units of 1 / MASS, for i = 0 .. 17 * ONE, int64."""
    with localcontext(prec=_DIGITS):
        return torch.tensor([_rounded(MASS * _exp(-i, ONE)) for i in range(_EXP_REACH * ONE + 1)])


@cache
def logistic_cdf() -> Tensor:
    """Return the sigmoid in units of 1 / MASS, at -16 .. 16 in steps of 1 / 256, the last entry twice; int64."""
    with localcontext(prec=_DIGITS):
        reach = CDF_REACH * CDF_STEPS
        found = [_rounded(MASS / (1 + _exp(-i, CDF_STEPS))) for i in range(-reach, reach + 1)]
    return torch.tensor([*found, found[-1]])


@cache
def inverse_scale() -> Tensor:
    """Return exp(-s / ONE) in units of 255 / INVERSE, for s from -7 * ONE to 5 * ONE; int64."""
    with localcontext(prec=_DIGITS):
        span = range(LEAST_LOG_SCALE * ONE, MOST_LOG_SCALE * ONE + 1)
        return torch.tensor([_rounded(INVERSE * _exp(-s, ONE) / 255) for s in span])


def look_up(table: Tensor, arguments: Tensor) -> Tensor:
    """Return entries of ``tanh`` or ``sigmoid`` at whole numbers in units of 1 / ONE, cut to the table's range."""
    reach = _GATE_REACH * ONE
    return table[arguments.clamp(-reach, reach).long() + reach]


def exp_of_difference(logits: Tensor, dim: int) -> Tensor:
    """Return exp(logit - largest logit) along a dimension, in units of 1 / MASS, int64, of logits in 1 / ONE."""
    below = logits.amax(dim, keepdim=True) - logits
    return exp()[below.clamp(max=_EXP_REACH * ONE).long()]
