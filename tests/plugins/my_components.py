"""A user's own components, in a file of their own: no file of the package knows them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from vqvae.component import Count, Positive
from vqvae.likelihoods import Likelihood, LikelihoodConfig
from vqvae.networks import Network, NetworkConfig
from vqvae.priors import CodeEmbedding, CodeHead, Prior, PriorModelConfig
from vqvae.quantizers import Quantizer, QuantizerConfig
from vqvae.tensors import Quantized


class Ternary(Quantizer):
    """Each channel becomes -1, 0 or 1: 3^D codes.

    Args:
        dim: D.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["ternary"] = "ternary"
        dim: Count = 3

        def build(self, *, forwards_per_update=1, seed=0):
            """Make the quantizer."""
            return Ternary(self.dim)

    def __init__(self, dim=Config.dim):
        super().__init__(num_codes=3**dim, channels=dim)
        self.register_buffer("place", 3 ** torch.arange(dim), persistent=False)

    def quantize_vectors(self, vectors, mask):
        """Round each channel; the gradient goes straight through."""
        digits = vectors.detach().clamp(-1, 1).round()
        error = (vectors - digits).square().mean(1)
        loss = error.mean() if mask is None else error[mask].sum() / max(1, int(mask.sum()))
        codes = ((digits.long() + 1) * self.place).sum(1, keepdim=True)
        return Quantized(vectors + (digits - vectors).detach(), codes, torch.zeros_like(loss), loss)

    def embed_vectors(self, codes):
        """Return the digits of codes."""
        return (codes // self.place % 3 - 1).float()


class Patches(Network):
    """Patches of factor x factor pixels through a linear map and a ReLU, and the mirror of it.

    Args:
        hidden: number of hidden channels.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(NetworkConfig):
        """Settings of the class."""

        kind: Literal["patches"] = "patches"
        hidden: Count = 32

        def build(self, *, channels, latent_channels, out_channels):
            """Make the network."""
            return Patches(channels, latent_channels, out_channels, **self.settings())

    def __init__(self, channels, latent_channels, out_channels, *, hidden=Config.hidden, factor=Config.factor):
        encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, factor, stride=factor), nn.ReLU(), nn.Conv2d(hidden, latent_channels, 1)
        )
        decoder = nn.Sequential(
            nn.Conv2d(latent_channels, hidden, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, out_channels, factor, stride=factor),
        )
        super().__init__(encoder, decoder, factor=factor)


class Laplace(Likelihood):
    """A Laplace distribution around the decoder's output, discretised to 0..255, with one learned scale.

    Args:
        channels: number of channels C of the images.
        scale: scale in grey levels at the start.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LikelihoodConfig):
        """Settings of the class."""

        kind: Literal["laplace"] = "laplace"
        scale: Positive = 20.0

        def build(self, *, channels):
            """Make the likelihood."""
            return Laplace(channels, scale=self.scale)

    def __init__(self, channels, *, scale=Config.scale):
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    @property
    def out_channels(self):
        """One location for each value."""
        return self.channels

    def pixel_nats(self, parameters, pixels):
        """Return -log of the mass between v - 1/2 and v + 1/2; 0 and 255 have the tails too."""
        x, location = pixels.to(parameters.dtype), (parameters + 1) * 127.5
        scale = self.log_scale.to(parameters.dtype).exp()
        low = torch.where(pixels == 0, -torch.inf, (x - 0.5 - location) / scale)
        high = torch.where(pixels == 255, torch.inf, (x + 0.5 - location) / scale)
        flip = low + high > 0  # both in the left tail, where the difference does not cancel
        low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
        return -(_laplace_cdf(high) - _laplace_cdf(low)).clamp(min=1e-12).log()

    def mean(self, parameters):
        """Return the location."""
        return parameters.float()

    def sample(self, parameters, u):
        """Invert the distribution function."""
        location = (parameters.to(u) + 1) * 127.5
        x = location - self.log_scale.to(u).exp() * (u - 0.5).sign() * torch.log1p(-2 * (u - 0.5).abs())
        return x.round().clamp(0, 255).to(torch.uint8)


def _laplace_cdf(x):
    return torch.where(x < 0, 0.5 * x.clamp(max=0).exp(), 1 - 0.5 * (-x.clamp(min=0)).exp())


class Markov(Prior):
    """Each position is drawn given the position before it and the class alone.

    Args:
        spec: of the codes.
        num_classes: of labels.
        width: channels.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PriorModelConfig):
        """Settings of the class."""

        kind: Literal["markov"] = "markov"
        width: Count = 16

        def build(self, spec, *, num_classes=0):
            """Make the prior."""
            return Markov(spec, num_classes=num_classes, width=self.width)

    def __init__(self, spec, *, num_classes=0, width=Config.width):
        super().__init__(spec, num_classes=num_classes)
        self.embedding = CodeEmbedding(spec, width)
        self.classes = nn.Embedding(num_classes + 1, width)
        self.mix = nn.Linear(width, width)
        self.head = CodeHead(spec, width, 32)

    def features(self, codes, labels):
        """Return the mixed embedding of the position before each."""
        embedded = self.embedding(codes).flatten(1, 2)
        before = nn.functional.pad(embedded, (0, 0, 1, 0))[:, :-1]
        return self.mix(before + self.classes(labels)[:, None]).view(*codes.shape[:3], -1)
