"""The tokenizer: encoder, quantizer, decoder and likelihood (arXiv 1711.00937, figure 1)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import STRICT, Count, CountOrZero
from vqvae.likelihoods import GaussianLikelihood, Likelihood, LikelihoodConfig
from vqvae.models.encode_exact import ExactCodes, encode_exact
from vqvae.networks.paper import Decoder, Encoder
from vqvae.quantizers import EMAQuantizer, Quantizer, QuantizerConfig
from vqvae.tensors import CodeSpec, Quantized, checked_codes, images_from_pixels

_HALF_A_LEVEL = 1 / 255  # of 256 over [-1, 1]: what lies closer to the range than this is the same pixel


class VQVAE(nn.Module):
    """Images to codes and back.

    Height and width may be anything that ``factor`` divides; the networks are convolutions throughout.

    Args:
        quantizer: between the networks; its ``channels`` is the D of z_e.
        channels: C of the images, 1 or 3.
        width: channels of the networks' bodies, at the resolution of the codes.
        outer_width: channels at the resolutions between the codes' and the image's.
        residual_width: channels inside a residual block.
        residual_blocks: in each network.
        factor: of downsampling, a power of two.
        likelihood: p(x | z_q), whose parameters the decoder makes; a Gaussian by default.

    Attributes:
        pixel_variance: scalar, the variance of the training images, over all elements in [-1, 1]; what the
            reconstruction term and NMSE are measured against.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Settings of the class."""

        __pydantic_config__ = STRICT

        width: Count = 128
        outer_width: Count = 64
        residual_width: Count = 32
        residual_blocks: CountOrZero = 2
        factor: Literal[2, 4, 8, 16, 32] = 4
        quantizer: QuantizerConfig = field(default_factory=EMAQuantizer.Config)
        likelihood: LikelihoodConfig = field(default_factory=GaussianLikelihood.Config)

        def build(self, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> "VQVAE":
            """Make the tokenizer for images of so many channels."""
            return VQVAE(
                self.quantizer.build(forwards_per_update=forwards_per_update, seed=seed),
                channels=channels,
                width=self.width,
                outer_width=self.outer_width,
                residual_width=self.residual_width,
                residual_blocks=self.residual_blocks,
                factor=self.factor,
                likelihood=self.likelihood.build(channels=channels),
            )

    quantizer: Quantizer
    pixel_variance: Tensor

    def __init__(
        self,
        quantizer: Quantizer,
        *,
        channels: int = 3,
        width: int = Config.width,
        outer_width: int = Config.outer_width,
        residual_width: int = Config.residual_width,
        residual_blocks: int = Config.residual_blocks,
        factor: int = Config.factor,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.factor = factor
        latent_channels = quantizer.channels
        self.encoder = Encoder(
            channels,
            latent_channels,
            width=width,
            outer_width=outer_width,
            residual_width=residual_width,
            residual_blocks=residual_blocks,
            factor=factor,
        )
        self.quantizer = quantizer
        likelihood = likelihood or GaussianLikelihood(channels)
        self.decoder = Decoder(
            likelihood.out_channels,
            latent_channels,
            width=width,
            outer_width=outer_width,
            residual_width=residual_width,
            residual_blocks=residual_blocks,
            factor=factor,
        )
        self.likelihood = likelihood
        self.register_buffer("pixel_variance", torch.tensor(1.0))

    @property
    def num_codes(self) -> int:
        """K."""
        return self.quantizer.num_codes

    @property
    def codes_per_position(self) -> int:
        """The n of codes [B, h, w, n]."""
        return self.quantizer.codes_per_position

    def code_spec(self, height: int, width: int) -> CodeSpec:
        """Return the spec of the codes of an image of H x W pixels."""
        grid = height // self.factor, width // self.factor
        return CodeSpec(grid, self.codes_per_position, self.num_codes)

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered at once in sharded training; the quantizer stays whole."""
        return [self.encoder, self.decoder, *self.likelihood.sharding_units()]

    def forward(self, images: Tensor) -> tuple[Tensor, Quantized]:
        """Return the decoder's output for images, float [B, C, H, W] in [-1, 1], and what was quantized.

        The output, float [B, out_channels, H, W], holds the parameters of the likelihood. For the default
        likelihood it is the reconstruction, not yet clamped to [-1, 1].
        """
        quantized = self.quantizer(self.encoder(images))
        return self.decoder(quantized.z_q), quantized

    @torch.no_grad()
    def encode(self, images: Tensor, *, exact: bool = False) -> Tensor:
        """Return the codes, int64 [B, H/factor, W/factor, n], of images.

        Plain codes are the nearest to the encoder's output as it is computed. A float32 convolution rounds
        differently in another batch, on another number of threads or another machine, so a code may differ there
        at a near-tie: of CIFAR-10's codes at K = 512, about 1 in 5,000 is one. Exact codes depend on nothing but
        the image; they take longer, most of all for small batches.

        Args:
            images: [B, C, H, W], float in [-1, 1], or uint8 pixels in 0..255, which are mapped to [-1, 1].
            exact: whether near-ties are decided in float64, as ``encode_exact`` does.

        Raises:
            ValueError: when the shape is not [B, C, H, W] with H and W multiples of the factor, for another type,
                for values outside [-1, 1], and for exact codes of a model in training mode.
        """
        images = checked_images(images, channels=self.channels, factor=self.factor)
        return self.encode_exact(images).codes if exact else self.quantizer(self.encoder(images)).codes

    def encode_exact(self, images: Tensor) -> ExactCodes:
        """Return codes that depend on the image alone, and the number of near-ties that float64 decided.

        Args:
            images: float [B, C, H, W] in [-1, 1].

        Raises:
            ValueError: in training mode, where the quantizer learns from what it encodes.
        """
        if self.training:
            raise ValueError("exact codes are those of a model in eval mode: call eval() first")
        return encode_exact(self.encoder, self.quantizer, images)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return images, float32 [B, C, h*factor, w*factor] in [-1, 1], of codes: the mean of p(x | z_q).

        Args:
            codes: of any integer type, [B, h, w, n], or [B, h, w] where n = 1.

        Raises:
            ValueError: for another type or shape, or a code outside 0..K-1.
        """
        return self.likelihood.mean(self.decode_parameters(codes)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def decode_parameters(self, codes: Tensor) -> Tensor:
        """Return the parameters of p(x | z_q), float [B, out_channels, h*factor, w*factor], of codes.

        Arguments and errors are those of ``decode``.
        """
        codes = checked_codes(codes, codes_per_position=self.codes_per_position, num_codes=self.num_codes)
        return self.decoder(self.quantizer.embed(codes))

    @torch.no_grad()
    def sample_pixels(self, codes: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
        """Draw pixels, uint8 [B, C, h*factor, w*factor], from p(x | z_q) of codes.

        Image i is a function of its codes and of (seed, i), whatever the batch.

        Args:
            codes: as ``decode`` takes them.
            seed: of all images.
            first: index i of the first image.
        """
        parameters = self.decode_parameters(codes)
        count, _, height, width = parameters.shape
        images = torch.arange(first, first + count)[:, None]
        values = torch.arange(self.channels * height * width)
        u = noise.uniform(seed, images, values).view(count, self.channels, height, width)
        on = torch.device("cpu") if parameters.device.type == "mps" else parameters.device  # no float64 on MPS
        return self.likelihood.sample(parameters.to(on), u.to(on)).to(parameters.device)


def checked_images(images: Tensor, *, channels: int, factor: int) -> Tensor:
    """Return images as float [B, C, H, W] in [-1, 1].

    Args:
        images: float in [-1, 1], or uint8 pixels in 0..255, which are mapped to [-1, 1].
        channels: C.
        factor: of downsampling, which H and W must be multiples of.

    Raises:
        ValueError: for another shape or type, and for values outside [-1, 1] by more than half a grey level or a
            rounding error. Code that is being compiled or exported does not look at the values.
    """
    if images.ndim != 4 or images.shape[1] != channels or any(size % factor for size in images.shape[2:]):
        raise ValueError(
            f"images {list(images.shape)}: expected [B, {channels}, H, W] with H and W multiples of {factor}"
        )
    if images.dtype == torch.uint8:
        return images_from_pixels(images)
    if not images.is_floating_point():
        raise ValueError(f"images {images.dtype}: expected float in [-1, 1], or uint8 in 0..255")
    if not torch.compiler.is_compiling() and images.numel():
        low, high = (float(bound) for bound in images.aminmax())
        limit = 1 + max(_HALF_A_LEVEL, torch.finfo(images.dtype).eps)
        if not -limit <= low <= high <= limit:  # not a number is outside too
            raise ValueError(
                f"images {low:.4g}..{high:.4g}: expected float in [-1, 1], or uint8 in 0..255; "
                "vqvae.tensors.images_from_pixels maps 0..255 to [-1, 1]"
            )
    return images
