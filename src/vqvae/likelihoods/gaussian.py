"""A discretised Gaussian around the decoder's output, with one variance for all pixels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.likelihoods.base import Likelihood, LikelihoodConfig
from vqvae.tensors import images_from_pixels

_LEAST_VARIANCE = 1e-6


class GaussianLikelihood(Likelihood):
    """A Gaussian around the decoder's output, discretised to 0..255, with one variance sigma^2 for all pixels.

    Training minimises the squared error divided by the variance of the training images. For every sigma, this loss
    is -log p(x | z_q) up to a factor and a constant, so sigma is not trained. When the model is saved, sigma^2 is
    estimated by maximum likelihood: it is the mean squared error of reconstructed training images.

    Args:
        channels: number of channels C of the images.

    Attributes:
        noise_variance: scalar, sigma^2 in the units of images in [-1, 1].
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["gaussian"] = "gaussian"

        def build(self, *, channels: int) -> "GaussianLikelihood":
            """Make the likelihood for images of C channels."""
            return GaussianLikelihood(channels)

    whole_in_training: ClassVar[bool] = False
    noise_variance: Tensor

    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels)
        self.register_buffer("noise_variance", torch.tensor(1.0))

    @property
    def out_channels(self) -> int:
        """C: a mean for each value."""
        return self.channels

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p of each value, as ``Likelihood.pixel_nats``; the mean is clamped to [-1, 1]."""
        mean = parameters.clamp(-1.0, 1.0)
        return discretised_gaussian_nats(pixels, mean, self.noise_variance.to(parameters.dtype))

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the decoder's output in float32."""
        return parameters.float()

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p(value < v) of a channel, as ``Likelihood.cumulative``."""
        mean = (parameters[:, earlier.shape[1]].clamp(-1.0, 1.0) + 1.0) * 127.5
        sigma = self.noise_variance.to(mean).sqrt() * 127.5

        def below(values: Tensor) -> Tensor:
            found = torch.special.ndtr((values - 0.5 - mean) / sigma)
            return found.masked_fill(values <= 0, 0.0).masked_fill(values >= 256, 1.0)

        return below

    def sample(self, parameters: Tensor, u: Tensor) -> Tensor:
        """Draw pixels, uint8 [B, C, H, W], as ``Likelihood.sample``."""
        mean = parameters.to(u).clamp(-1.0, 1.0)
        x = mean + self.noise_variance.to(u).sqrt() * torch.special.ndtri(u)
        return ((x + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def loss(self, parameters: Tensor, images: Tensor, *, pixel_variance: Tensor | float) -> Tensor:
        """Return the mean squared error over the variance of the training images, a scalar."""
        squares = F.mse_loss(parameters.float(), images, reduction="sum")
        return squares / max(1, images.numel()) / pixel_variance

    def estimate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return ``noise_variance``, the mean squared error of reconstructions, at least 1e-6."""
        error, count = 0.0, 0
        for parameters, pixels in batches:
            mean = self.mean(parameters).clamp(-1.0, 1.0).cpu()
            error += float((mean - images_from_pixels(pixels.cpu())).square().sum())
            count += pixels.numel()
        return {"noise_variance": torch.tensor(max(error / max(1, count), _LEAST_VARIANCE))}


def discretised_gaussian_nats(pixels: Tensor, mean: Tensor, variance: Tensor | float) -> Tensor:
    """Return -log p of each value under a discretised Gaussian, in nats, in the shape and precision of the mean.

    The probability of value v is the mass of N(mean, variance) between v - 1/2 and v + 1/2. The tails belong to 0
    and 255, so the 256 probabilities sum to one (arXiv 1701.05517, section 2.1).

    Args:
        pixels: uint8 [B, C, H, W].
        mean: float [B, C, H, W], in the units of images in [-1, 1].
        variance: scalar, in the same units.
    """
    x, mean = pixels.to(mean.dtype), (mean + 1.0) * 127.5
    sigma = torch.as_tensor(variance, dtype=mean.dtype, device=mean.device).sqrt() * 127.5
    low = torch.where(pixels == 0, -torch.inf, (x - 0.5 - mean) / sigma)
    high = torch.where(pixels == 255, torch.inf, (x + 0.5 - mean) / sigma)
    return -_normal_log_cdf_difference(low, high)


def _normal_log_cdf_difference(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Phi(high) - Phi(low)) for low < high, computed in the lower tail to avoid cancellation."""
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high): both arguments are made negative where low is positive
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return log_high + torch.log1p(-torch.exp(log_low - log_high))
