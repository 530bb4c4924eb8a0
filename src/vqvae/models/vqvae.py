"""The tokenizer: encoder, quantizer, decoder and likelihood (arXiv 1711.00937, figure 1)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import STRICT
from vqvae.likelihoods import GaussianLikelihood, Likelihood, LikelihoodConfig
from vqvae.models.encode_exact import ExactCodes, encode_exact
from vqvae.models.tiles import encode_in_tiles, whole_in_tiles
from vqvae.networks import Network, NetworkConfig, PaperNetwork
from vqvae.quantizers import EMAQuantizer, Quantizer, QuantizerConfig
from vqvae.tensors import CodeSpec, Quantized, checked_codes, checked_images


class VQVAE(nn.Module):
    """A VQ-VAE, which maps images to codes and codes to images.

    Args:
        quantizer: the quantizer of z_e; its ``channels`` is the number of channels D of z_e.
        channels: number of channels C of the images, 1 or 3.
        network: encoder and decoder; by default ``PaperNetwork``.
        likelihood: p(x | z_q), whose parameters are the decoder's output; by default ``GaussianLikelihood``.
        **paper: settings of the default network, such as ``width`` and ``factor``.

    Attributes:
        factor: downsampling factor: images of H x W pixels have codes at H/factor x W/factor positions.
        pixel_variance: scalar, the variance of the training images, over all elements in [-1, 1]. The
            reconstruction loss of the Gaussian and NMSE are divided by it.

    Raises:
        ValueError: for settings of the default network together with a network, and for a likelihood of another
            number of channels.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the class."""

        __pydantic_config__ = STRICT

        network: NetworkConfig = field(default_factory=PaperNetwork.Config)
        quantizer: QuantizerConfig = field(default_factory=EMAQuantizer.Config)
        likelihood: LikelihoodConfig = field(default_factory=GaussianLikelihood.Config)

        def build(self, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> "VQVAE":
            """Make the tokenizer for images of C channels."""
            quantizer = self.quantizer.build(forwards_per_update=forwards_per_update, seed=seed)
            likelihood = self.likelihood.build(channels=channels)
            network = self.network.build(
                channels=channels, latent_channels=quantizer.channels, out_channels=likelihood.out_channels
            )
            return VQVAE(quantizer, channels=channels, network=network, likelihood=likelihood)

    quantizer: Quantizer
    pixel_variance: Tensor

    def __init__(
        self,
        quantizer: Quantizer,
        *,
        channels: int = 3,
        network: Network | None = None,
        likelihood: Likelihood | None = None,
        **paper: Any,
    ) -> None:
        super().__init__()
        if network is not None and paper:
            raise ValueError(f"{', '.join(paper)}: settings of the default network, but a network was given")
        likelihood = likelihood or GaussianLikelihood(channels)
        if likelihood.channels != channels:
            raise ValueError(f"a likelihood of {likelihood.channels} channels, but images of {channels}")
        if network is None:
            sizes = {"latent_channels": quantizer.channels, "out_channels": likelihood.out_channels}
            network = PaperNetwork(channels, **sizes, **paper)
        self.channels = channels
        self.factor = network.factor
        self.encoder = network.encoder
        self.quantizer = quantizer
        self.decoder = network.decoder
        self.likelihood = likelihood
        self.register_buffer("pixel_variance", torch.tensor(1.0))

    @property
    def num_codes(self) -> int:
        """The number of codes K."""
        return self.quantizer.num_codes

    @property
    def codes_per_position(self) -> int:
        """The number of codes per position n."""
        return self.quantizer.codes_per_position

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of the n codes of a position chooses from, as the quantizer states them."""
        return self.quantizer.code_sizes

    @property
    def depths(self) -> list[int]:
        """The numbers of first codes of a position that ``decode`` takes, in rising order; the last is n."""
        return [number for number in range(1, self.codes_per_position + 1) if self.quantizer.takes_codes(number)]

    def code_spec(self, height: int, width: int) -> CodeSpec:
        """Return the spec of the codes of an image of H x W pixels."""
        grid = height // self.factor, width // self.factor
        return CodeSpec(grid, self.codes_per_position, self.num_codes)

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered one module at a time when weights are sharded over ranks.

        They are the units of encoder, decoder and likelihood. An encoder or decoder that names no units is one
        unit. The quantizer stays whole on every rank.
        """
        units: list[nn.Module] = []
        for network in (self.encoder, self.decoder):
            own = getattr(network, "sharding_units", None)
            units += [network] if own is None else own()
        return [*units, *self.likelihood.sharding_units()]

    def forward(self, images: Tensor) -> tuple[Tensor, Quantized]:
        """Return the decoder's output for images, float [B, C, H, W] in [-1, 1], and the quantizer's result.

        The output, float [B, out_channels, H, W], holds the parameters of the likelihood. For the default
        likelihood it is the reconstruction, not yet clamped to [-1, 1].
        """
        quantized = self.quantizer(self.encoder(images))
        return self.decoder(quantized.z_q), quantized

    @torch.no_grad()
    def encode(
        self, images: Tensor, *, exact: bool = False, tile: int | None = None, overlap: int | None = None
    ) -> Tensor:
        """Return the codes, int64 [B, H/factor, W/factor, n], of images.

        Plain codes are the codes nearest to the encoder's output. A float32 convolution rounds differently in
        another batch, with another number of threads or on another machine. So a code at a near-tie may differ
        there; of the codes of CIFAR-10 with K = 512, about 1 in 5,000 is a near-tie. Exact codes depend on the
        image alone. They take longer to compute, especially for small batches.

        Args:
            images: [B, C, H, W], float in [-1, 1], or uint8 pixels in 0..255, which are mapped to [-1, 1].
            exact: whether near-ties are decided in float64, as ``encode_exact`` does.
            tile: side of the tiles, in pixels, in which large images are encoded; None encodes them whole. The
                exact codes of a convolutional network are those of the whole image; see ``vqvae.models.tiles``.
            overlap: number of pixels around a tile that are encoded with it. None measures what the encoder needs.

        Raises:
            ValueError: when the shape is not [B, C, H, W] with H and W multiples of the factor, for another type,
                for values outside [-1, 1], for exact codes of a model in training mode, and for tiles without an
                ``overlap`` of an encoder that looks at the whole image.
        """
        if tile is not None:
            return encode_in_tiles(self, images, tile=tile, overlap=overlap, exact=exact).codes
        images = checked_images(images, channels=self.channels, factor=self.factor)
        return self.encode_exact(images).codes if exact else self.quantizer.codes(self.encoder(images))

    def encode_exact(self, images: Tensor) -> ExactCodes:
        """Return codes that depend on the image alone, and the number of near-ties that float64 decided.

        Args:
            images: float [B, C, H, W] in [-1, 1].

        Raises:
            ValueError: in training mode, where the quantizer would learn from the images.
        """
        if self.training:
            raise ValueError("exact codes need a model in eval mode: call eval() first")
        return encode_exact(self.encoder, self.quantizer, images)

    @torch.no_grad()
    def decode(self, codes: Tensor, *, tile: int | None = None, overlap: int | None = None) -> Tensor:
        """Return images, float32 [B, C, h*factor, w*factor] in [-1, 1], of codes: the mean of p(x | z_q).

        Args:
            codes: of any integer type, [B, h, w, n], or [B, h, w] where n = 1. Of a residual quantizer, the codes
                of the first layers alone may be given.
            tile: side of the tiles, in pixels, as ``encode`` takes it.
            overlap: number of pixels around a tile that are decoded with it. None measures what the decoder needs.

        Raises:
            ValueError: for another type or shape, a code outside 0..K-1, and tiles without an ``overlap`` of a
                decoder that looks at the whole image.
        """
        if tile is not None:
            return whole_in_tiles(self, codes, tile=tile, overlap=overlap)
        return self.likelihood.mean(self.decode_parameters(codes)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def decode_parameters(self, codes: Tensor) -> Tensor:
        """Return the parameters of p(x | z_q), float [B, out_channels, h*factor, w*factor], of codes.

        Arguments and errors are those of ``decode``.
        """
        return self.decoder(self.quantizer.embed(self.checked_codes(codes)))

    def checked_codes(self, codes: Tensor) -> Tensor:
        """Return codes as int64 [B, h, w, n].

        Args:
            codes: as ``decode`` takes them.

        Raises:
            ValueError: as ``decode``.
        """
        given = codes.shape[3] if codes.ndim == 4 else self.codes_per_position
        number = given if self.quantizer.takes_codes(given) else self.codes_per_position
        return checked_codes(codes, codes_per_position=number, num_codes=self.num_codes)

    @torch.no_grad()
    def sample_pixels(self, codes: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
        """Draw pixels, uint8 [B, C, h*factor, w*factor], from p(x | z_q) of codes.

        Image i is a function of its codes and of (seed, i). It does not depend on the batch.

        Args:
            codes: the codes, as ``decode`` takes them.
            seed: the seed of all images.
            first: the index i of the first image.
        """
        parameters = self.decode_parameters(codes)
        count, _, height, width = parameters.shape
        images = torch.arange(first, first + count)[:, None]
        values = torch.arange(self.channels * height * width)
        u = noise.uniform(seed, images, values).view(count, self.channels, height, width)
        on = torch.device("cpu") if parameters.device.type == "mps" else parameters.device  # no float64 on MPS
        return self.likelihood.sample(parameters.to(on), u.to(on)).to(parameters.device)
