"""Encoder and decoder of pre-activation residual blocks, with sub-pixel resampling."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, CountOrZero
from vqvae.networks.base import Network, NetworkConfig
from vqvae.networks.paper import widths_of

EPSILON = 1e-6  # added to the mean square of a norm
HEAD = 32  # channels of a head of attention
FEW = 256  # positions, up to which training multiplies all pairs of positions at once


class ResNet(Network):
    """Pre-activation residual blocks (arXiv 1603.05027) and sub-pixel resampling (arXiv 1609.05158).

    A halving moves 2x2 pixels into the channels, and a doubling moves them back. So all convolutions have many
    channels, no convolution runs at the resolution of the image, and most run at the resolution of the codes. The
    last convolution of a block starts at zero, so a block starts as the identity (arXiv 1901.09321).

    Each position is normalized by itself (arXiv 1910.07467). So the output at a position depends on a window
    around it, and images may be encoded and decoded in tiles. With ``attention``, it depends on the whole image,
    and tiles only approximate it. Height and width may be anything that the factor divides.

    Args:
        channels: number of channels C of the images.
        latent_channels: number of channels D of z_e.
        out_channels: number of channels of the decoder's output; by default C.
        width: number of channels at the resolution of the codes.
        outer_width: number of channels at the resolutions between the image's and the codes'.
        encoder_blocks: number of residual blocks of the encoder at the resolution of the codes.
        decoder_blocks: number of residual blocks of the decoder at the resolution of the codes.
        outer_blocks: number of residual blocks at each resolution between the image's and the codes'.
        attention: whether all positions attend to each other, at the resolution of the codes: once in the middle
            of the encoder's residual blocks, and once in the middle of the decoder's.
        factor: downsampling factor, a power of two; an image of H x W pixels has H/factor x W/factor positions.

    Raises:
        ValueError: for a factor that is not a power of two, and for a width or a number of blocks out of range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(NetworkConfig):
        """Settings of the class."""

        kind: Literal["resnet"] = "resnet"
        width: Count = 128
        outer_width: Count = 64
        encoder_blocks: CountOrZero = 2
        decoder_blocks: CountOrZero = 4
        outer_blocks: CountOrZero = 1
        attention: bool = False

        def build(self, *, channels: int, latent_channels: int, out_channels: int) -> "ResNet":
            """Make the network."""
            return ResNet(channels, latent_channels=latent_channels, out_channels=out_channels, **self.settings())

    def __init__(
        self,
        channels: int,
        *,
        latent_channels: int,
        out_channels: int | None = None,
        width: int = Config.width,
        outer_width: int = Config.outer_width,
        encoder_blocks: int = Config.encoder_blocks,
        decoder_blocks: int = Config.decoder_blocks,
        outer_blocks: int = Config.outer_blocks,
        attention: bool = Config.attention,
        factor: int = Config.factor,
    ) -> None:
        self.Config.check(
            width=width,
            outer_width=outer_width,
            encoder_blocks=encoder_blocks,
            decoder_blocks=decoder_blocks,
            outer_blocks=outer_blocks,
        )
        widths = widths_of(width, outer_width, factor)
        out_channels = channels if out_channels is None else out_channels
        super().__init__(
            _encoder(channels, latent_channels, widths, encoder_blocks, outer_blocks, attention),
            _decoder(out_channels, latent_channels, widths, decoder_blocks, outer_blocks, attention),
            factor=factor,
        )


class Norm(nn.Module):
    """Divide the vector at each position by its root mean square; scale each channel: [B, width, h, w]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalized, in the precision of x; the mean is in float32 at least."""
        square = (x if x.dtype == torch.float64 else x.float()).square().mean(1, keepdim=True)
        return (x * torch.rsqrt(square + EPSILON)).to(x.dtype) * self.scale.to(x.dtype)


class ResidualBlock(nn.Module):
    """Twice: norm, SiLU, 3x3 convolution; added to the input: float [B, width, h, w] -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual."""
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Attention(nn.Module):
    """Norm, attention of all positions, 1x1 convolution; added to the input: float [B, width, h, w] -> the same.

    The formula is equation 1 of arXiv 1706.03762. A head has 32 channels; there is one head if 32 does not divide
    the width. There are no position embeddings: the padding of the convolutions tells positions apart.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = 1 if width % HEAD else width // HEAD
        self.norm = Norm(width)
        self.project = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the mixed values."""
        query, key, value = heads_of(self.project(self.norm(x)), self.heads)
        few = self.training and query.shape[2] <= FEW
        mix = _mixed if few else F.scaled_dot_product_attention
        return x + self.out(image_of(mix(query, key, value), x.shape))


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the values mixed by attention, as ``scaled_dot_product_attention`` does.

    With few positions, these two products take a third of that function's time on a CPU (docs/log.md). Their
    memory grows with the square of the number of positions.
    """
    return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1) @ value


def heads_of(projected: Tensor, heads: int) -> Tensor:
    """Return queries, keys and values, [3, B, heads, h * w, d], of a projection [B, 3 * heads * d, h, w]."""
    positions = projected.flatten(2).transpose(1, 2)
    return positions.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)


def image_of(mixed: Tensor, shape: torch.Size) -> Tensor:
    """Return mixed values, [B, heads, h * w, d], as an image of this shape, [B, heads * d, h, w]."""
    return mixed.transpose(2, 3).reshape(shape)


class Stack(nn.Sequential):
    """Layers in a row, which cast their input to the precision of the weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of the last layer."""
        weight = next(parameter for parameter in self.parameters())
        return super().forward(input.to(weight.dtype))


def _blocks(width: int, number: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(number)]


def _inner(width: int, number: int, attention: bool) -> list[nn.Module]:
    """Return the blocks at the resolution of the codes."""
    blocks = _blocks(width, number)
    middle = [Attention(width)] if attention else []
    return [*blocks[: number // 2], *middle, *blocks[number // 2 :]]


def _encoder(
    channels: int, latent_channels: int, widths: list[int], blocks: int, outer_blocks: int, attention: bool
) -> Stack:
    layers: list[nn.Module] = []
    before = channels
    for number, width in enumerate(widths):
        last = number + 1 == len(widths)
        layers += [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * before, width, 1 if number else 3, padding=0 if number else 1),
        ]
        layers += _inner(width, blocks, attention) if last else _blocks(width, outer_blocks)
        before = width
    return Stack(*layers, Norm(before), nn.SiLU(), nn.Conv2d(before, latent_channels, 1))


def _decoder(
    out_channels: int, latent_channels: int, widths: list[int], blocks: int, outer_blocks: int, attention: bool
) -> Stack:
    *outer, before = widths
    layers: list[nn.Module] = [
        nn.Conv2d(latent_channels, before, 3, padding=1),
        *_inner(before, blocks, attention),
    ]
    for width in reversed(outer):
        layers += [nn.Conv2d(before, 4 * width, 1), nn.PixelShuffle(2), *_blocks(width, outer_blocks)]
        before = width
    return Stack(
        *layers, Norm(before), nn.SiLU(), nn.Conv2d(before, 4 * out_channels, 3, padding=1), nn.PixelShuffle(2)
    )
