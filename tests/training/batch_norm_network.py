"""A network with batch statistics, which a training changes without any gradient."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from vqvae.networks import Network, NetworkConfig


class BatchNormNetwork(Network):
    """Patches of factor x factor pixels, with a batch normalisation each way."""

    @dataclass(frozen=True, kw_only=True)
    class Config(NetworkConfig):
        """Settings of the class."""

        kind: Literal["test-batch-norm"] = "test-batch-norm"

        def build(self, *, channels, latent_channels, out_channels):
            return BatchNormNetwork(channels, latent_channels, out_channels, factor=self.factor)

    def __init__(self, channels, latent_channels, out_channels, *, factor):
        encoder = nn.Sequential(
            nn.Conv2d(channels, 8, factor, stride=factor), nn.BatchNorm2d(8), nn.Conv2d(8, latent_channels, 1)
        )
        decoder = nn.Sequential(
            nn.Conv2d(latent_channels, 8, 1),
            nn.BatchNorm2d(8),
            nn.ConvTranspose2d(8, out_channels, factor, stride=factor),
        )
        super().__init__(encoder, decoder, factor=factor)
