"""The groups of a multiscale likelihood, with whole numbers."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vqvae.coding.integer.layers import integer_network
from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood
from vqvae.coding.integer.logistic import IntegerLogistics, integer_image
from vqvae.likelihoods import MultiscaleLikelihood
from vqvae.likelihoods.base import Place
from vqvae.likelihoods.multiscale import Group, coarse_to_fine, known_before


@LIKELIHOODS.of(MultiscaleLikelihood)
class IntegerMultiscale(IntegerLikelihood):
    """A mixture of logistics predicted coarse to fine, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: MultiscaleLikelihood) -> None:
        self.likelihood, self.channels = likelihood, likelihood.channels
        self.mixture = IntegerLogistics(likelihood.mixture)
        self.networks = {group: integer_network(likelihood.network_of(group)) for group in likelihood.groups()}

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the coarsest image, then group by group, channel by channel, as ``Likelihood.coding_order``."""

        def correction(group: Group, own: Tensor) -> Tensor:
            images = integer_image(pixels.long()).double()
            known = known_before(group, images, (own.shape[2], own.shape[3]))
            with torch.no_grad():
                return self.networks[group](torch.cat([known, own], 1))

        return coarse_to_fine(self.likelihood, self.mixture.cumulative, correction, parameters, pixels)
