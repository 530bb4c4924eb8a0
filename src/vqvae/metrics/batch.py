"""The input of metrics: the models that are measured, and batches of images with the models' outputs."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from vqvae.features import FeatureNetwork
from vqvae.losses import Perceptual
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.tensors import images_from_pixels


@dataclass(frozen=True, eq=False)
class Models:
    """The models that are measured, in eval mode and on one device.

    Attributes:
        tokenizer: the tokenizer.
        prior: a prior over the tokenizer's codes, or None.
        code_counts: how often each code occurs at each position of the prior's training codes, int64 [h, w, n, K],
            or None.
        features: the network in whose features reconstructions are judged, or None.
        lpips: the network that measures LPIPS, or None; see ``vqvae.metrics.lpips``.
    """

    tokenizer: VQVAE
    prior: Prior | None = None
    code_counts: Tensor | None = None
    features: FeatureNetwork | None = None
    lpips: Perceptual | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of images. The outputs of the models are computed when a metric first needs them, and kept.

    Attributes:
        models: the models that are measured.
        pixels: uint8 [B, C, H, W], on the CPU.
        codes: int64 [B, h, w, n], on the models' device.
        labels: int64 [B], on the models' device; None for a prior without classes.
        z_e: the encoder's output, float [B, D, h, w]; None where it was not kept.
    """

    models: Models
    pixels: Tensor
    codes: Tensor
    labels: Tensor | None = None
    z_e: Tensor | None = None

    def __len__(self) -> int:
        """Return B."""
        return len(self.pixels)

    @cached_property
    def images(self) -> Tensor:
        """The pixels as float32 [B, C, H, W] in [-1, 1], on the CPU."""
        return images_from_pixels(self.pixels)

    @cached_property
    def latents(self) -> Tensor:
        """The encoder's output, float [B, D, h, w], on the models' device."""
        return self.models.tokenizer.encoder(self.images.to(self.codes.device)) if self.z_e is None else self.z_e

    @cached_property
    def parameters(self) -> Tensor:
        """The decoder's output, float [B, out_channels, H, W], on the models' device."""
        return self.models.tokenizer.decode_parameters(self.codes)

    @cached_property
    def reconstruction(self) -> Tensor:
        """The mean of p(x | z_q), float32 [B, C, H, W] in [-1, 1], on the CPU."""
        return self.models.tokenizer.likelihood.mean(self.parameters).clamp(-1.0, 1.0).cpu()

    @cached_property
    def pixel_nats(self) -> Tensor:
        """-log p(x | z_q) of each image, float64 [B], on the CPU."""
        return self.models.tokenizer.likelihood.nats(self.parameters, self.pixels).cpu()

    @cached_property
    def code_nats(self) -> Tensor | None:
        """-log p of each code under the prior, float [B, h, w, n]; None without a prior."""
        return None if self.models.prior is None else self.models.prior.code_nats(self.codes, self.labels)

    @cached_property
    def prior_nats(self) -> Tensor | None:
        """-log p(z) of each image's codes under the prior, float64 [B], on the CPU; None without a prior."""
        return None if self.code_nats is None else self.code_nats.flatten(1).sum(1).cpu().double()
