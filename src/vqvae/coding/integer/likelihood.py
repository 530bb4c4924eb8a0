"""What the integer form of a likelihood is, and what several of them share."""

from collections.abc import Callable, Iterator

from torch import Tensor

from vqvae.coding.integer.forms import Forms
from vqvae.coding.integer.tables import CDF_REACH, CDF_STEPS, INVERSE, MASS, ONE, STANDARD
from vqvae.likelihoods.base import Place


class IntegerLikelihood:
    """A likelihood with whole numbers; it defines ``cumulative``, or ``coding_order``."""

    channels: int

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v | earlier), as ``Likelihood.cumulative``: multiples of 1 / MASS, so exact.

        Args:
            parameters: whole numbers in units of 1 / ONE, float64 [B, out_channels, H, W].
            earlier: uint8 [B, c, H, W].
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define cumulative")

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the values that are coded at once, as ``Likelihood.coding_order``."""
        for channel in range(self.channels):
            yield (slice(None), channel), self.cumulative(parameters, pixels[:, :channel])


LIKELIHOODS = Forms[IntegerLikelihood]("likelihood")


def mass_below(values: Tensor, mean: Tensor, inverse: Tensor | int, table: Tensor) -> Tensor:
    """Return p(value < v) in units of 1 / MASS, int64; the tails are given to 0 and 255.

    Args:
        values: v, int64, in 0..256.
        mean: int64, in units of 1 / ONE of images in [-1, 1].
        inverse: 1 / scale, in units of 255 / INVERSE.
        table: the standard distribution function, such as ``logistic_cdf``.
    """
    distance = (2 * values - 256) * ONE - 255 * mean  # in units of 1 / (255 * ONE)
    standard = distance * inverse // (ONE * INVERSE // STANDARD)
    reach = CDF_REACH * STANDARD
    place = standard.clamp(-reach, reach) + reach
    step = STANDARD // CDF_STEPS
    index, rest = place // step, place % step
    found = table[index] + (table[index + 1] - table[index]) * rest // step
    return found.masked_fill(values <= 0, 0).masked_fill(values >= 256, MASS)
