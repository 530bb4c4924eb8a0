"""Encoder and decoder of arXiv 1711.00937, section 4.1: strided convolutions and residual blocks."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


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
    """Return residual blocks and the ReLU that closes them."""
    return nn.Sequential(*(ResidualBlock(width, residual_width) for _ in range(blocks)), nn.ReLU())


def widths_of(width: int, outer_width: int, factor: int) -> list[int]:
    """Return the channels after each halving, outermost first: the outer width, and the width at the last."""
    halvings = factor.bit_length() - 1
    if factor < 2 or 2**halvings != factor:
        raise ValueError(f"factor {factor}: the downsampling factor must be 2, 4, 8, ...")
    return [outer_width] * (halvings - 1) + [width]


class Encoder(nn.Sequential):
    """Images, float [B, C, H, W], to z_e, float [B, D, H/factor, W/factor].

    Args:
        channels: C.
        latent_channels: D.
        width: channels of the body, at the resolution of the codes.
        outer_width: channels at the resolutions between the codes' and the image's.
        residual_width: channels inside a residual block.
        residual_blocks: their number.
        factor: of downsampling, a power of two: one 4x4 stride-2 convolution a halving.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        *,
        width: int,
        outer_width: int,
        residual_width: int,
        residual_blocks: int,
        factor: int,
    ) -> None:
        layers: list[nn.Module] = []
        before = channels
        for after in widths_of(width, outer_width, factor):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            before = after
        super().__init__(
            *layers[:-1],  # a residual block begins with its own ReLU
            residual_stack(width, residual_width, residual_blocks),
            nn.Conv2d(width, latent_channels, 1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return z_e of images, cast to the precision of the weights."""
        return super().forward(input.to(cast(nn.Conv2d, self[0]).weight.dtype))


class Decoder(nn.Sequential):
    """z_q, float [B, D, h, w], to images, float [B, C, h*factor, w*factor]: the encoder mirrored.

    Args:
        channels: C.
        latent_channels: D.
        width: channels of the body, at the resolution of the codes.
        outer_width: channels at the resolutions between the codes' and the image's.
        residual_width: channels inside a residual block.
        residual_blocks: their number.
        factor: of upsampling, a power of two: one 4x4 stride-2 transposed convolution a doubling.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        *,
        width: int,
        outer_width: int,
        residual_width: int,
        residual_blocks: int,
        factor: int,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(latent_channels, width, 3, padding=1),
            residual_stack(width, residual_width, residual_blocks),
        ]
        outwards = [*widths_of(width, outer_width, factor)[-2::-1], channels]
        before = width
        for after in outwards:
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            before = after
        super().__init__(*layers[:-1])

    def forward(self, input: Tensor) -> Tensor:
        """Return images of z_q, cast to the precision of the weights: quantizers answer in float32."""
        return super().forward(input.to(cast(nn.Conv2d, self[0]).weight.dtype))
