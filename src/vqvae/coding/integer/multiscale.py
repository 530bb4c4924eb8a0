"""The groups of a multiscale likelihood, with whole numbers."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vqvae.coding.integer.layers import integer_network
from vqvae.coding.integer.likelihood import LIKELIHOODS, IntegerLikelihood
from vqvae.coding.integer.logistic import IntegerLogistics, integer_image
from vqvae.likelihoods import MultiscaleLikelihood
from vqvae.likelihoods.base import Place
from vqvae.likelihoods.multiscale import known_before


@LIKELIHOODS.of(MultiscaleLikelihood)
class IntegerMultiscale(IntegerLikelihood):
    """A mixture of logistics predicted coarse to fine, with whole numbers.

    Args:
        likelihood: the likelihood in floating point.
    """

    def __init__(self, likelihood: MultiscaleLikelihood) -> None:
        self.channels, self.levels = likelihood.channels, likelihood.levels
        self.mixture = IntegerLogistics(likelihood.mixture)
        self.networks = [(group, integer_network(likelihood.network_of(group))) for group in likelihood.groups()]

    @torch.no_grad()
    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the coarsest image, then group by group, channel by channel, as ``Likelihood.coding_order``."""
        step = slice(0, None, 2**self.levels)
        yield from self._channels(parameters[..., step, step], pixels, (step, step))
        for group, network in self.networks:
            own = parameters[(..., *group.place)]
            if own.numel():
                images = integer_image(pixels.long()).double()
                known = known_before(group, images, (own.shape[2], own.shape[3]))
                yield from self._channels(own + network(torch.cat([known, own], 1)), pixels, group.place)

    def _channels(
        self, parameters: Tensor, pixels: Tensor, place: tuple[slice, slice]
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        for channel in range(self.channels):
            yield (slice(None), channel, *place), self.mixture.cumulative(parameters, pixels[:, :channel, *place])
