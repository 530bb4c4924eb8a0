"""What likelihoods share that correct the decoder's mixture for each pixel, given pixels before it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqvae.component import Advice, Count, NotNegative
from vqvae.likelihoods.base import Likelihood, LikelihoodConfig
from vqvae.likelihoods.mixture import LogisticMixtureLikelihood


@dataclass(frozen=True, kw_only=True)
class CorrectedMixtureConfig(LikelihoodConfig):
    """Settings that these likelihoods share."""

    components: Count = 5
    alone: NotNegative = 0.1

    def advice(self, key: str) -> Advice:
        """Return what helps if the decoder ignores the codes."""
        more = f"{2 * self.alone or 0.1}"
        return Advice("train the pixels given the codes alone more", {f"{key}.alone": more})


class CorrectedMixtureLikelihood(Likelihood):
    """A mixture of logistics for each pixel, whose parameters depend on the codes and on pixels before it.

    The decoder makes the parameters, and networks of the likelihood correct them. The mean image comes from the
    decoder's parameters alone, without corrections. A second term of the loss, weighted by ``alone``, trains these
    parameters.

    A subclass defines ``given`` and ``coding_order``.

    Args:
        channels: number of channels C of the images.
        components: number of logistics M of a pixel.
        alone: weight, in the loss, of -log p of the pixels given the codes alone.
    """

    def __init__(self, channels: int, *, components: int, alone: float) -> None:
        super().__init__(channels)
        self.alone = alone
        self.mixture = LogisticMixtureLikelihood(channels, components=components)

    @property
    def out_channels(self) -> int:
        """The parameters of a mixture: 10 M for RGB."""
        return self.mixture.out_channels

    def given(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return the parameters of each pixel given the codes and the pixels before it.

        Args:
            parameters: the decoder's output, float [B, out_channels, H, W].
            pixels: uint8 [B, C, H, W].

        Returns:
            Float, the shape of the parameters.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define given")

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p of each pixel given the pixels before it, as ``Likelihood.pixel_nats``."""
        return self.mixture.pixel_nats(self.given(parameters, pixels), pixels)

    def loss(self, parameters: Tensor, images: Tensor, *, pixel_variance: Tensor | float) -> Tensor:
        """Return the nats per dimension of x given z_q, plus ``alone`` times the nats without any correction.

        Parameters in bf16 let the networks run in bf16.
        """
        device, half = parameters.device.type, parameters.dtype == torch.bfloat16
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            whole = super().loss(parameters, images, pixel_variance=pixel_variance)
        if self.alone == 0:
            return whole
        return whole + self.alone * self.mixture.loss(parameters, images, pixel_variance=pixel_variance)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the mean image given the codes alone."""
        return self.mixture.mean(parameters)
