"""What every network is: an encoder and a decoder that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from vqvae.component import Config


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """Settings of a network; each kind adds its own settings and says how to build its network.

    Attributes:
        factor: downsampling factor; an image of H x W pixels has codes at H/factor x W/factor positions.
    """

    default_kind: ClassVar[str | None] = "paper"

    factor: Literal[2, 4, 8, 16, 32] = 4

    def build(self, *, channels: int, latent_channels: int, out_channels: int) -> Network:
        """Make the network.

        Args:
            channels: number of channels C of the images.
            latent_channels: number of channels D of z_e, which the quantizer determines.
            out_channels: number of channels of the decoder's output, which the likelihood determines.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the network")


class Network:
    """An encoder and a decoder, which the tokenizer takes over. All weights are inside these two modules.

    An encoder or decoder that is too large for one device has a method ``sharding_units``, as ``Likelihood`` has.

    Args:
        encoder: maps images, float [B, C, H, W] in [-1, 1], to z_e, float [B, D, H/factor, W/factor].
        decoder: maps z_q, float32 [B, D, h, w], to the parameters of the likelihood, float
            [B, out_channels, h*factor, w*factor].
        factor: downsampling factor.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, factor: int) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.factor = factor
