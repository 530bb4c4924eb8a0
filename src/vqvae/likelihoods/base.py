"""The base class of likelihoods: distributions of an image's pixels given the output of the decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vqvae.component import Advice, Config
from vqvae.tensors import pixels_from_images

Place = tuple[slice | int, ...]  # of values in pixels [B, C, H, W]: images, channel, rows, columns
_MOST_ELEMENTS = 2**24  # most parameters that are held in float64 at a time


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig(Config):
    """Settings of a likelihood; each kind adds its own settings and says how to build its likelihood."""

    default_kind: ClassVar[str | None] = "gaussian"

    def build(self, *, channels: int) -> Likelihood:
        """Make the likelihood for images of C channels."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the likelihood")

    def advice(self, key: str) -> Advice:
        """Return what helps if the decoder ignores the codes.

        Args:
            key: the key of this config in the run's config, such as ``model.likelihood``.
        """
        return Advice("train longer", {})


class Likelihood(nn.Module):
    """p(x | z_q): a distribution over pixels, integers in 0..255, whose probabilities sum to one.

    The decoder makes ``out_channels`` numbers at each pixel, the parameters of the distribution. A likelihood may
    have weights of its own, such as a learned scale; they train with the decoder.

    A subclass defines ``out_channels``, ``pixel_nats``, ``mean`` and ``cumulative``. A subclass whose pixels
    depend on other pixels defines ``coding_order`` instead of ``cumulative``. A subclass with neither defines
    ``sample``; then it does not code pixels in files.

    Args:
        channels: number of channels C of the images.

    Attributes:
        whole_in_training: whether the likelihood is whole while it trains. If not, it is whole only in a saved
            model, and training measures no bits per dimension.
    """

    whole_in_training: ClassVar[bool] = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    @property
    def out_channels(self) -> int:
        """The number of parameters at each pixel: the channels of the decoder's output."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define out_channels")

    def pixel_nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return terms of -log p(x | z_q) in nats, in the precision of the parameters.

        Args:
            parameters: float [B, out_channels, H, W].
            pixels: uint8 [B, C, H, W].

        Returns:
            Float [B, C, H, W], a term for each value, or [B, 1, H, W], a term for each pixel. The sum over an
            image is its -log p(x | z_q).
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define pixel_nats")

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the mean image, float32 [B, C, H, W].

        The mean is differentiable. Values below -1 and above 1 stand for pixels of 0 and 255.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define its mean")

    def cumulative(self, parameters: Tensor, earlier: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the distribution function of one channel's values, given the channels before it.

        Args:
            parameters: float64 [B, out_channels, H, W].
            earlier: uint8 [B, c, H, W], the values of channels 0 .. c - 1; the function is that of channel c.

        Returns:
            A function of values v, int64 [B, H, W] in 0..256. It returns p(value < v | earlier), float64
            [B, H, W] in [0, 1]: 0 at v = 0, 1 at v = 256, and never falling between, up to rounding.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define cumulative, which codes pixels")

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the values that are coded at once, part by part; by default, a part is a channel.

        Args:
            parameters: float64 [B, out_channels, H, W].
            pixels: uint8 [B, C, H, W]. The caller writes the values of a part before it takes the next part.

        Yields:
            The place of the part in ``pixels``, and its distribution function given the parts before it, as
            ``cumulative`` returns it.
        """
        for channel in range(self.channels):
            yield (slice(None), channel), self.cumulative(parameters, pixels[:, :channel])

    @property
    def codes_pixels(self) -> bool:
        """Whether the likelihood defines how pixels are coded."""
        own = type(self)
        return own.cumulative is not Likelihood.cumulative or own.coding_order is not Likelihood.coding_order

    def sample(self, parameters: Tensor, u: Tensor) -> Tensor:
        """Draw pixels, uint8 [B, C, H, W], by inverting the cumulative distribution of each value.

        Args:
            parameters: float [B, out_channels, H, W].
            u: float64 [B, C, H, W], uniform numbers in (0, 1). Each value is the smallest v with
                p(value <= v | the values before it) >= u.
        """
        pixels = torch.empty(u.shape, dtype=torch.uint8, device=u.device)
        for place, below in self.coding_order(parameters.to(u), pixels):
            value = torch.zeros_like(u[place], dtype=torch.int64)
            for step in (128, 64, 32, 16, 8, 4, 2, 1):  # p(value < v) < u holds for v = value all along
                value = torch.where(below(value + step) < u[place], value + step, value)
            pixels[place] = value.to(torch.uint8)
        return pixels

    def loss(self, parameters: Tensor, images: Tensor, *, pixel_variance: Tensor | float) -> Tensor:
        """Return what training minimises, a scalar: by default -log p(x | z_q) in nats per dimension, in float32.

        Args:
            parameters: float [B, out_channels, H, W].
            images: float [B, C, H, W] in [-1, 1]; B may be 0, for a loss of 0.
            pixel_variance: the variance of the training images, over all elements in [-1, 1].
        """
        nats = self.pixel_nats(parameters.float(), pixels_from_images(images)).sum()
        return nats / max(1, images.numel())

    def nats(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return -log p(x | z_q) of each image in nats, float64 [B].

        Args:
            parameters: float [B, out_channels, H, W].
            pixels: uint8 [B, C, H, W].
        """
        if parameters.device.type == "mps":  # has no float64
            return copy.deepcopy(self).cpu().nats(parameters.cpu(), pixels.cpu())
        images = max(1, _MOST_ELEMENTS // max(1, parameters[:1].numel()))
        parts = zip(parameters.split(images), pixels.to(parameters.device).split(images), strict=True)
        found = [self.pixel_nats(some.double(), values).flatten(1).sum(1) for some, values in parts]
        return torch.cat(found)

    def estimate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return the values of buffers that are estimated instead of trained, by name; by default there are none.

        Training calls this method when it saves a model. The model file gets these values.

        Args:
            batches: pairs of parameters and pixels of training images, as ``nats`` takes them. A pair is computed
                when it is read, so a likelihood that reads none costs no time.
        """
        return {}

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered one module at a time; by default none."""
        return []
