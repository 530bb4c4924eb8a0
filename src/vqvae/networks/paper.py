"""Encoder and decoder of arXiv 1711.00937, section 4.1: strided convolutions and residual blocks."""

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, CountOrZero
from vqvae.networks.base import Network, NetworkConfig


class PaperNetwork(Network):
    """Strided convolutions and residual blocks, and the mirrored decoder (arXiv 1711.00937, section 4.1).

    Both are convolutions throughout, so height and width may be anything that the factor divides.

    Args:
        channels: number of channels C of the images.
        latent_channels: number of channels D of z_e.
        out_channels: number of channels of the decoder's output; by default C.
        width: number of channels at the resolution of the codes.
        outer_width: number of channels at the resolutions between the image's and the codes'.
        residual_width: number of channels inside a residual block.
        residual_blocks: number of residual blocks in the encoder, and in the decoder.
        factor: downsampling factor, a power of two; an image of H x W pixels has H/factor x W/factor positions.

    Raises:
        ValueError: for a factor that is not a power of two, and for a width or a number of blocks out of range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(NetworkConfig):
        """Settings of the class."""

        kind: Literal["paper"] = "paper"
        width: Count = 128
        outer_width: Count = 64
        residual_width: Count = 32
        residual_blocks: CountOrZero = 2

        def build(self, *, channels: int, latent_channels: int, out_channels: int) -> "PaperNetwork":
            """Make the network."""
            return PaperNetwork(
                channels, latent_channels=latent_channels, out_channels=out_channels, **self.settings()
            )

    def __init__(
        self,
        channels: int,
        *,
        latent_channels: int,
        out_channels: int | None = None,
        width: int = Config.width,
        outer_width: int = Config.outer_width,
        residual_width: int = Config.residual_width,
        residual_blocks: int = Config.residual_blocks,
        factor: int = Config.factor,
    ) -> None:
        self.Config.check(
            width=width, outer_width=outer_width, residual_width=residual_width, residual_blocks=residual_blocks
        )
        widths = widths_of(width, outer_width, factor)
        blocks = residual_width, residual_blocks
        encoder = Encoder(channels, latent_channels, widths, *blocks)
        decoder = Decoder(channels if out_channels is None else out_channels, latent_channels, widths, *blocks)
        super().__init__(encoder, decoder, factor=factor)


def widths_of(width: int, outer_width: int, factor: int) -> list[int]:
    """Return the channels after each halving, outermost first: ``outer_width``, and ``width`` after the last.

    Raises:
        ValueError: for a factor that is not a power of two.
    """
    halvings = factor.bit_length() - 1
    if factor < 2 or 2**halvings != factor:
        raise ValueError(f"factor {factor}: the downsampling factor must be 2, 4, 8, ...")
    return [outer_width] * (halvings - 1) + [width]


class ResidualBlock(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 1x1 convolution, added to the input: float [B, width, h, w] -> the same."""

    def __init__(self, width: int, residual_width: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(width, residual_width, 3, padding=1)
        self.conv1 = nn.Conv2d(residual_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual."""
        return x + self.conv1(F.relu(self.conv3(F.relu(x)), inplace=True))


def residual_stack(width: int, residual_width: int, blocks: int) -> nn.Sequential:
    """Return residual blocks and a final ReLU."""
    return nn.Sequential(*(ResidualBlock(width, residual_width) for _ in range(blocks)), nn.ReLU())


class Encoder(nn.Sequential):
    """Images, float [B, C, H, W], to z_e, float [B, D, h, w]: a 4x4 stride-2 convolution for each halving.

    Args:
        channels: C.
        latent_channels: D.
        widths: channels after each halving, outermost first.
        residual_width: channels inside a residual block.
        residual_blocks: number of residual blocks.
    """

    def __init__(
        self, channels: int, latent_channels: int, widths: list[int], residual_width: int, residual_blocks: int
    ) -> None:
        layers: list[nn.Module] = []
        before = channels
        for after in widths:
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            before = after
        super().__init__(
            *layers[:-1],  # a residual block begins with its own ReLU
            residual_stack(before, residual_width, residual_blocks),
            nn.Conv2d(before, latent_channels, 1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return z_e of images; images are cast to the precision of the weights."""
        return super().forward(input.to(cast(nn.Conv2d, self[0]).weight.dtype))


class Decoder(nn.Sequential):
    """z_q, float [B, D, h, w], to float [B, out_channels, H, W]: the mirror of the encoder.

    Args:
        out_channels: of the output.
        latent_channels: D.
        widths: channels before each doubling, outermost first.
        residual_width: channels inside a residual block.
        residual_blocks: number of residual blocks.
    """

    def __init__(
        self, out_channels: int, latent_channels: int, widths: list[int], residual_width: int, residual_blocks: int
    ) -> None:
        *outer, before = widths
        layers: list[nn.Module] = [
            nn.Conv2d(latent_channels, before, 3, padding=1),
            residual_stack(before, residual_width, residual_blocks),
        ]
        for after in [*reversed(outer), out_channels]:
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            before = after
        super().__init__(*layers[:-1])

    def forward(self, input: Tensor) -> Tensor:
        """Return the output for z_q; z_q, float32, is cast to the precision of the weights."""
        return super().forward(input.to(cast(nn.Conv2d, self[0]).weight.dtype))
