"""The pixels of an autoregressive likelihood, with whole numbers."""

from collections.abc import Callable, Iterator
from typing import cast

from torch import Tensor

from vqvae.coding.integer.layers import integer_network
from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood
from vqvae.coding.integer.logistic import IntegerLogistics, integer_image
from vqvae.likelihoods import AutoregressiveLikelihood
from vqvae.likelihoods.autoregressive import CausalNetwork, in_raster_order
from vqvae.likelihoods.base import Place


@LIKELIHOODS.of(AutoregressiveLikelihood)
class IntegerAutoregressive(IntegerLikelihood):
    """A mixture of logistics given all pixels before it, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: AutoregressiveLikelihood) -> None:
        self.channels = likelihood.channels
        self.mixture = IntegerLogistics(likelihood.mixture)
        self.network = cast(CausalNetwork, integer_network(likelihood.network))

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the pixels in raster order, channel by channel, as ``Likelihood.coding_order``."""

        def image_of(values: Tensor) -> Tensor:
            return integer_image(values.long()).double()

        return in_raster_order(self.network, self.mixture.cumulative, image_of, parameters, pixels)
