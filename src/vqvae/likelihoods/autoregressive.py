"""A mixture of logistics for each pixel, given the codes and all pixels before it in raster order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count
from vqvae.likelihoods.base import Place
from vqvae.likelihoods.corrected import CorrectedMixtureConfig, CorrectedMixtureLikelihood
from vqvae.tensors import images_from_pixels

_LEFT, _RIGHT = 3, 1  # columns of zeros beside a row: what the first layer and the row above read beyond it


class AutoregressiveLikelihood(CorrectedMixtureLikelihood):
    """A PixelCNN over the pixels, given the codes (arXiv 1606.05328, section 2.3; the mixture is of 1701.05517).

    The decoder makes the parameters of a mixture of logistics for each pixel. A causal network reads these
    parameters, and the pixels above and to the left of a pixel, and corrects the parameters of the pixel. So a
    file is decoded pixel by pixel. Each layer keeps its inputs of two rows, so it runs once at each pixel.

    The mean image comes from the decoder's parameters alone, without corrections. A second term of the loss,
    weighted by ``alone``, trains these parameters.

    Args:
        channels: number of channels C of the images.
        components: number of logistics M of a pixel.
        width: channels of the causal network.
        blocks: residual blocks of the causal network; each sees one row more, and two columns more to the left.
        alone: weight, in the loss, of -log p of the pixels given the codes alone.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(CorrectedMixtureConfig):
        """Settings of the class."""

        kind: Literal["autoregressive"] = "autoregressive"
        width: Count = 64
        blocks: Count = 8

        def build(self, *, channels: int) -> "AutoregressiveLikelihood":
            """Make the likelihood for images of C channels."""
            return AutoregressiveLikelihood(channels, **self.settings())

    def __init__(
        self,
        channels: int = 3,
        *,
        components: int = Config.components,
        width: int = Config.width,
        blocks: int = Config.blocks,
        alone: float = Config.alone,
    ) -> None:
        self.Config.check(components=components, width=width, blocks=blocks, alone=alone)
        super().__init__(channels, components=components, alone=alone)
        self.network = CausalNetwork(channels, self.out_channels, width, blocks)

    def given(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return the parameters of each pixel given the codes and the pixels before it, as the base class."""
        weight = self.network.first.weight
        inputs = (each.to(weight.dtype) for each in (images_from_pixels(pixels), parameters))
        return parameters + self.network(*inputs).to(parameters.dtype)

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the pixels in raster order, channel by channel, as ``Likelihood.coding_order``."""
        return in_raster_order(self.network, self.mixture.cumulative, images_from_pixels, parameters, pixels)


class CausalNetwork(nn.Module):
    """Residual blocks over pixels; each position sees earlier pixels, and the decoder's output at any position.

    A layer sees three positions of the row above, from one to the left to one to the right, and three positions of
    its own row, which end at the position itself; the first layer's end before it. Both runs of three are one
    convolution over twice the channels.

    Args:
        channels: number of channels C of the images.
        out_channels: number of parameters at each pixel.
        width: channels of the blocks.
        blocks: number of blocks.
    """

    def __init__(self, channels: int, out_channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * channels, width, (1, 3))
        self.condition = nn.Conv2d(out_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(CausalBlock(width) for _ in range(blocks))
        self.act = nn.SiLU()
        self.last = nn.Conv2d(width, out_channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return corrections, [B, out_channels, H, W], of images [B, C, H, W] and the decoder's output."""
        x = self.first(beside(images, itself=False)) + self.condition(parameters)
        for block in self.blocks:
            x = block(x, beside(self.act(x), itself=True))
        return self.last(self.act(x))


class CausalBlock(nn.Module):
    """x + W2 silu(W1 * silu(x)), where W1 sees earlier positions; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.act = nn.SiLU()
        self.conv = nn.Conv2d(2 * width, width, (1, 3))
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, activations: Tensor) -> Tensor:
        """Return features [B, width, H, W] of features, and of silu(x) as ``beside`` lays it out."""
        return x + self.out(self.act(self.conv(activations)))


def beside(x: Tensor, *, itself: bool) -> Tensor:
    """Lay the row above beside each row, [B, 2 * channels, H, W + 2], for kernels of three columns.

    Args:
        x: [B, channels, H, W].
        itself: whether a position sees its own features.
    """
    height, width = x.shape[2:]
    above = F.pad(x, (1, 1, 1, 0))[:, :, :height]
    own = F.pad(x, (2, 0)) if itself else F.pad(x, (3, 0))[..., : width + 2]
    return torch.cat([above, own], 1).contiguous(memory_format=torch.channels_last)


class _Rows:
    """A layer's inputs of the present row and of the row above it, [1, channels, B, columns].

    The images of a batch take the place of rows, so a layer is one matrix product over all images.
    """

    def __init__(self, channels: int, count: int, width: int, like: Tensor) -> None:
        self.above, self.own = (like.new_zeros(1, channels, count, _LEFT + width + _RIGHT) for _ in range(2))

    def begin_row(self) -> None:
        self.above, self.own = self.own, self.above.zero_()

    def put(self, column: int, x: Tensor) -> None:
        self.own[..., _LEFT + column : _LEFT + column + 1] = x

    def beside(self, column: int, *, itself: bool) -> Tensor:
        """Return what ``beside`` holds for a position, [1, 2 * channels, B, 3]."""
        first, own = column + _LEFT - 1, column + _LEFT - (2 if itself else 3)
        return torch.cat([self.above[..., first : first + 3], self.own[..., own : own + 3]], 1)


class _Positions:
    """A causal network, run at one pixel after another."""

    def __init__(self, network: CausalNetwork, parameters: Tensor, channels: int) -> None:
        count, _, _, width = parameters.shape
        self.network, self.conditions = network, network.condition(parameters.to(network.first.weight.dtype))
        like, features = self.conditions, self.conditions.shape[1]
        self.pixels = _Rows(channels, count, width, like)
        self.inputs = [_Rows(features, count, width, like) for _ in network.blocks]

    def begin_row(self) -> None:
        """Move on to the next row."""
        for each in (self.pixels, *self.inputs):
            each.begin_row()

    def put(self, column: int, pixel: Tensor) -> None:
        """Take the pixel of a column of the present row, [B, C, 1, 1], which later pixels read."""
        self.pixels.put(column, _images_as_rows(pixel))

    def correction(self, row: int, column: int) -> Tensor:
        """Return the correction at a pixel, [B, out_channels, 1, 1], once all pixels before it were put."""
        x = self.network.first(self.pixels.beside(column, itself=False))
        x = x + _images_as_rows(self.conditions[:, :, row : row + 1, column : column + 1])
        for block, inputs in zip(self.network.blocks, self.inputs, strict=True):
            inputs.put(column, self.network.act(x))
            x = block(x, inputs.beside(column, itself=True))
        return _images_as_rows(self.network.last(self.network.act(x)))


def _images_as_rows(x: Tensor) -> Tensor:
    """Swap the images and the rows of [B, channels, H, W]."""
    return x.transpose(0, 2)


def in_raster_order(
    network: CausalNetwork,
    cumulative: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]],
    image_of: Callable[[Tensor], Tensor],
    parameters: Tensor,
    pixels: Tensor,
) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
    """Yield the pixels in raster order, channel by channel, as ``Likelihood.coding_order``.

    Args:
        network: the causal network, or its integer form.
        cumulative: of the mixture, as ``Likelihood.cumulative``.
        image_of: from pixels, uint8, to the numbers that the network reads.
        parameters: the decoder's output, [B, out_channels, H, W].
        pixels: uint8 [B, C, H, W].
    """
    channels, height, width = pixels.shape[1:]
    with torch.no_grad():
        positions = _Positions(network, parameters, channels)
    for row in range(height):
        positions.begin_row()
        for column in range(width):
            here = slice(row, row + 1), slice(column, column + 1)
            with torch.no_grad():
                own = parameters[..., *here]
                own = own + positions.correction(row, column).to(own.dtype)
            for channel in range(channels):
                yield (slice(None), channel, *here), cumulative(own, pixels[:, :channel, *here])
            positions.put(column, image_of(pixels[..., *here]))
