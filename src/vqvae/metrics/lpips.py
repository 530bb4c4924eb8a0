"""LPIPS (arXiv 1801.03924): a perceptual distance, with factors of channels learned from people's judgements."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vqvae.features import FeatureNetwork
from vqvae.features.files import weights_digest
from vqvae.losses import Perceptual
from vqvae.losses.perceptual import check_fit, read_channel_weights
from vqvae.metrics.accumulator import ImageMean
from vqvae.metrics.batch import Batch
from vqvae.tensors import images_from_pixels, pixels_from_images


def lpips_network(network: FeatureNetwork, weights: str, image_shape: tuple[int, int, int]) -> Perceptual:
    """Return the network that measures LPIPS.

    Args:
        network: AlexNet or VGG16 with ImageNet's weights; another network gives a distance of its own.
        weights: path of the factors that LPIPS has learned for the network, such as the package lpips has.
        image_shape: C, H and W of the images to compare.

    Raises:
        UserError: for factors that are missing or of another network, and images that are too small for it.
    """
    factors = read_channel_weights(Path(weights).expanduser())
    check_fit(network, factors, image_shape, where="--lpips", path=weights)
    return Perceptual(network, channel_weights=factors).to(next(network.parameters()).device).eval()


def lpips(network: Perceptual, a: Tensor, b: Tensor) -> Tensor:
    """Return the LPIPS of each pair, float64 [B], at least 0; lower is better, 0 is a copy.

    Args:
        network: as ``lpips_network`` makes it.
        a: uint8 [B, C, H, W].
        b: uint8, the same shape.
    """
    device = next(network.network.parameters()).device
    return network.distances(*(images_from_pixels(pixels.to(device)) for pixels in (a, b))).double().cpu()


def lpips_protocol(network: Perceptual) -> dict[str, Any]:
    """Return what defines the number."""
    factors = weights_digest(dict(network.named_buffers(prefix="factors", recurse=False)))
    return {
        "network": network.network.kind,
        "weights": network.network.digest,
        "factors": factors,
        "resize": "none",
    }


class LPIPS(ImageMean):
    """See ``lpips``; the reconstructions are rounded to uint8. None without a network."""

    name = "lpips"

    def add(self, batch: Batch) -> None:
        """Take one batch."""
        if self.models.lpips is not None:
            super().add(batch)

    def values(self, batch: Batch) -> Tensor:
        """Return the LPIPS of each image, float64 [B]."""
        assert self.models.lpips is not None
        return lpips(self.models.lpips, batch.pixels, pixels_from_images(batch.reconstruction))

    def protocol(self) -> Mapping[str, Any]:
        """Return what defines the number."""
        return {} if self.models.lpips is None else {"lpips": lpips_protocol(self.models.lpips)}
