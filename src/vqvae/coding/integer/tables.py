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
_NORMAL_REACH = 6  # Phi(-6) is below 2^-24
_EXP_REACH = 17  # exp(-17) is below 2^-24
SILU_REACH = 12  # silu(-12) is nearer to 0 than to 1 / ONE
TURN = 2**20  # a cosine of 1
CDF_REACH, CDF_STEPS = 16, 256  # the distribution function: its range, and entries for each 1
DIGITS = 30
_PI = Decimal("3.14159265358979323846264338327950288419716939937511")
_BASE = 100  # as in vqvae.priors.transformer


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value())


def _exp(numerator: int, denominator: int) -> Decimal:
    return (Decimal(numerator) / denominator).exp()


@cache
def tanh() -> Tensor:
    """Return tanh in units of 1 / ONE at arguments -8 * ONE .. 8 * ONE, float64."""
    with localcontext(prec=DIGITS):
        half = [
            _rounded(ONE * (1 - e) / (1 + e)) for e in (_exp(-2 * i, ONE) for i in range(_GATE_REACH * ONE + 1))
        ]
    return torch.tensor([-value for value in half[:0:-1]] + half, dtype=torch.float64)


@cache
def sigmoid() -> Tensor:
    """Return the sigmoid in units of 1 / ONE at arguments -8 * ONE .. 8 * ONE, float64."""
    with localcontext(prec=DIGITS):
        half = [_rounded(ONE / (1 + _exp(-i, ONE))) for i in range(_GATE_REACH * ONE + 1)]
    return torch.tensor([ONE - value for value in half[:0:-1]] + half, dtype=torch.float64)


@cache
def silu() -> Tensor:
    """Return x * sigmoid(x) in units of 1 / ONE at arguments -12 * ONE .. 12 * ONE, float64."""
    with localcontext(prec=DIGITS):
        half = [_rounded(i / (1 + _exp(-i, ONE))) for i in range(SILU_REACH * ONE + 1)]
    return torch.tensor([x - i for i, x in reversed(list(enumerate(half)))][:-1] + half, dtype=torch.float64)


@cache
def exp() -> Tensor:
    """Return the exponential of -i / ONE in units of 1 / MASS, for i = 0 .. 17 * ONE, int64."""
    with localcontext(prec=DIGITS):
        return torch.tensor([_rounded(MASS * _exp(-i, ONE)) for i in range(_EXP_REACH * ONE + 1)])


@cache
def logistic_cdf() -> Tensor:
    """Return the sigmoid in units of 1 / MASS, at -16 .. 16 in steps of 1 / 256, the last entry twice; int64."""
    with localcontext(prec=DIGITS):
        reach = CDF_REACH * CDF_STEPS
        found = [_rounded(MASS / (1 + _exp(-i, CDF_STEPS))) for i in range(-reach, reach + 1)]
    return torch.tensor([*found, found[-1]])


@cache
def normal_cdf() -> Tensor:
    """Return the normal distribution function as ``logistic_cdf`` returns the logistic one; int64.

    The series is Phi(x) = 1/2 + phi(x) (x + x^3 / 3 + x^5 / (3 * 5) + ...). All of its terms are positive.
    """
    with localcontext(prec=DIGITS):
        half = [_normal(Decimal(i) / CDF_STEPS) for i in range(_NORMAL_REACH * CDF_STEPS + 1)]
    half += [MASS] * (CDF_REACH * CDF_STEPS + 1 - len(half))
    return torch.tensor([MASS - value for value in half[:0:-1]] + [*half, half[-1]])


def _normal(x: Decimal) -> int:
    term, total, odd = x, Decimal(0), 1
    while term > Decimal("1e-20"):
        total, odd = total + term, odd + 2
        term = term * x * x / odd
    return _rounded(MASS * (Decimal("0.5") + (-x * x / 2).exp() / (2 * _PI).sqrt() * total))


@cache
def turns(pairs: int, count: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines in units of 1 / TURN, float64 [count + 1, pairs].

    Row c + 1 holds the angles ``c * 100^(-i / pairs)`` of coordinate c, from -1 to count - 1. The angles of
    coordinate 1 are computed by the power series, and the others by the addition theorem.
    """
    cosines, sines = list[list[int]](), list[list[int]]()
    with localcontext(prec=2 * DIGITS):
        for pair in range(pairs):
            c, s = _cos_and_sin((-Decimal(_BASE).ln() * pair / pairs).exp())
            angle = [(c, -s), (Decimal(1), Decimal(0))]
            while len(angle) <= count:
                x, y = angle[-1]
                angle.append((x * c - y * s, x * s + y * c))
            cosines.append([_rounded(TURN * x) for x, _ in angle])
            sines.append([_rounded(TURN * y) for _, y in angle])
    return torch.tensor(cosines, dtype=torch.float64).T, torch.tensor(sines, dtype=torch.float64).T


def _cos_and_sin(x: Decimal) -> tuple[Decimal, Decimal]:
    sums, term = [Decimal(0)] * 4, Decimal(1)  # of the terms of exp(i x): real, imaginary, their negatives
    for power in range(60):  # of an angle of at most 1
        sums[power % 4] += term
        term = term * x / (power + 1)
    return sums[0] - sums[2], sums[1] - sums[3]


@cache
def inverse_scale() -> Tensor:
    """Return exp(-s / ONE) in units of 255 / INVERSE, for s from -7 * ONE to 5 * ONE; int64."""
    with localcontext(prec=DIGITS):
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


def tables() -> dict[str, Tensor]:
    """Return the tables that do not depend on a model, by name, int64."""
    named = (tanh, sigmoid, silu, exp, logistic_cdf, normal_cdf, inverse_scale)
    return {table.__name__: table().long() for table in named}
