"""The distribution function of a Gaussian, with whole numbers."""

from collections.abc import Callable
from decimal import Decimal, localcontext

from torch import Tensor

from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood, mass_below
from vqvae.coding.integer.tables import DIGITS, INVERSE, MASS, ONE, normal_cdf
from vqvae.likelihoods import GaussianLikelihood

_LEAST_VARIANCE = Decimal("1e-6")


@LIKELIHOODS.of(GaussianLikelihood)
class IntegerGaussian(IntegerLikelihood):
    """A Gaussian with one variance for all pixels, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: GaussianLikelihood) -> None:
        self.channels = likelihood.channels
        with localcontext(prec=DIGITS):
            sigma = max(Decimal(float(likelihood.noise_variance)), _LEAST_VARIANCE).sqrt()
            self.inverse = int((INVERSE / (255 * sigma)).to_integral_value())

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v), as ``IntegerLikelihood.cumulative``; the mean is clamped to [-1, 1]."""
        mean = parameters[:, earlier.shape[1]].long().clamp(-ONE, ONE)
        return lambda values: mass_below(values, mean, self.inverse, normal_cdf()).double() / MASS
