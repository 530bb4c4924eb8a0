"""A network of the outside: patches through one linear map each way."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from vqvae.networks import Network, NetworkConfig


class Cast(nn.Sequential):
    def forward(self, input):
        return super().forward(input.to(self[0].weight.dtype))


class Sharded(Cast):
    def sharding_units(self):
        return [*self, self]


class PatchNetwork(Network):
    """Patches of factor x factor pixels through linear maps, with a hidden layer.

    Args:
        hidden: channels of the hidden layer.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(NetworkConfig):
        """Settings of the class."""

        kind: Literal["test-patches"] = "test-patches"
        hidden: int = 32

        def build(self, *, channels, latent_channels, out_channels):
            return PatchNetwork(channels, latent_channels, out_channels, hidden=self.hidden, factor=self.factor)

    def __init__(self, channels, latent_channels, out_channels, *, hidden, factor):
        encoder = Sharded(
            nn.Conv2d(channels, hidden, factor, stride=factor), nn.Conv2d(hidden, latent_channels, 1)
        )
        decoder = Cast(
            nn.Conv2d(latent_channels, hidden, 1), nn.ConvTranspose2d(hidden, out_channels, factor, stride=factor)
        )
        super().__init__(encoder, decoder, factor=factor)
