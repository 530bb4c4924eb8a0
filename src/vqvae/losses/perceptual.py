"""The perceptual term: a distance in the features of a trained network (LPIPS, arXiv 1801.03924)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from vqvae.component import NotNegative
from vqvae.errors import UserError
from vqvae.features import FeatureNetwork, FeaturesConfig, SqueezeNet
from vqvae.features.files import read_tensors, weights_digest
from vqvae.losses.base import Loss, LossConfig, mean
from vqvae.paths import whole_path

_SMALLEST_SQUARE = 1e-10  # keeps the gradient finite where all features of a position are 0


class Perceptual(Loss):
    """The squared distance between unit-normalised feature maps of image and reconstruction.

    It is arXiv 1801.03924, equation 1. Without ``channel_weights`` every channel counts the same. The feature
    network does not learn, and neither checkpoints nor model files hold it: training needs its file of weights.

    Args:
        network: the feature network.
        channel_weights: for each feature map, float [C_i], the factors of the channels' squared differences; by
            default all are 1.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(LossConfig):
        """Settings of the class.

        Attributes:
            network: the feature network whose maps are compared.
            channel_weights: path of a file, safetensors or of ``torch.save``, with the factors of the channels
                that LPIPS has learned, one tensor of C_i numbers for each feature map, shallow maps first by
                name. ``null`` takes 1 for every channel.
            digest: SHA-256 of the weights of the network and of the channels. Training records it in the run's
                config. Other weights are then refused.
        """

        kind: Literal["perceptual"] = "perceptual"
        weight: NotNegative = 0.1
        network: FeaturesConfig = field(default_factory=SqueezeNet.Config)
        channel_weights: str | None = None
        digest: str | None = None

        def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> "Perceptual":
            """Make the loss.

            Raises:
                UserError: for weights that are not given, missing, damaged, of another network, or not those that
                    the run began with.
            """
            network, weights = self._read()
            if self.digest is not None and _digest(network, weights) != self.digest:
                raise UserError(
                    f"losses.perceptual: {self.network.weights}: not the weights that the run began with, whose "
                    f"SHA-256 is {self.digest[:16]}...: give their file with "
                    "--losses.perceptual.network.weights PATH"
                )
            check_fit(network, weights, image_shape, path=self.channel_weights)
            return Perceptual(network, channel_weights=weights)

        def resolved(self) -> Self:
            """Return the config with absolute paths and with the digest of the weights."""
            network = self.network
            if network.weights is not None:
                network = replace(network, weights=whole_path(network.weights))
            where = None if self.channel_weights is None else whole_path(self.channel_weights)
            found = replace(self, network=network, channel_weights=where)
            return found if self.digest is not None else replace(found, digest=_digest(*found._read()))

        def _read(self) -> tuple[FeatureNetwork, list[Tensor] | None]:
            if self.network.weights is None:
                raise UserError(
                    f"losses.perceptual: the weights of {self.network.kind} are not part of this package: give "
                    "their file with --losses.perceptual.network.weights PATH (docs/extra-losses.md says where "
                    "such files come from)"
                )
            network = self.network.build()
            if self.channel_weights is None:
                return network, None
            return network, read_channel_weights(Path(self.channel_weights))

    def __init__(self, network: FeatureNetwork, *, channel_weights: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.weighted = channel_weights is not None
        for index, weight in enumerate(channel_weights or ()):
            self.register_buffer(f"weight_{index}", weight)

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the mean distance of the images of a batch."""
        return mean(self.distances(images, reconstruction))

    def distances(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the distance of each image and its reconstruction, float32 [B]; 0 for equal images.

        Args:
            images: float [B, C, H, W] in [-1, 1]; no gradient flows to them. A grey channel is repeated.
            reconstruction: float, the same shape.
        """
        with torch.no_grad():
            wanted = self.network.maps(images.expand(-1, 3, -1, -1))
        found = self.network.maps(reconstruction.expand(-1, 3, -1, -1))
        total = reconstruction.new_zeros(len(reconstruction))
        for index, (own, other) in enumerate(zip(found, wanted, strict=True)):
            squares = (unit(own) - unit(other)).square()
            if self.weighted:
                squares = squares * self.get_buffer(f"weight_{index}").view(-1, 1, 1)
            total = total + squares.sum(1).mean((1, 2))
        return total


def unit(features: Tensor) -> Tensor:
    """Return feature maps, at least float32 [B, C, h, w], whose vectors of C features have length 1."""
    features = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
    return features * (features.square().sum(1, keepdim=True) + _SMALLEST_SQUARE).rsqrt()


def read_channel_weights(path: Path) -> list[Tensor]:
    """Read the channels' factors that LPIPS has learned: one tensor a feature map, float32 [C_i], sorted by name.

    Raises:
        UserError: for a file that is missing or damaged, and for negative factors.
    """
    tensors = read_tensors(path, "the channel weights of LPIPS")
    found = [tensors[name].float().flatten() for name in sorted(tensors)]
    if not all(bool((weights >= 0).all()) for weights in found):
        raise UserError(f"{path}: negative channel weights: not the factors of LPIPS")
    return found


def check_fit(
    network: FeatureNetwork,
    channel_weights: Sequence[Tensor] | None,
    image_shape: tuple[int, int, int],
    *,
    where: str = "losses.perceptual",
    path: str | None = None,
) -> None:
    """Check that the network takes images of a size, and that the channel weights fit its maps.

    Args:
        network: the feature network.
        channel_weights: the factors of its channels, or None.
        image_shape: C, H and W.
        where: what the user set, for messages.
        path: the file of the channel weights, for messages.

    Raises:
        UserError: for a network without maps, images that are too small, and weights of another network.
    """
    _, height, width = image_shape
    like = next(network.parameters(), torch.empty(0))  # its device and dtype are the network's
    try:
        with torch.no_grad():
            maps = network.maps(like.new_zeros(1, 3, height, width))
    except NotImplementedError:
        raise UserError(f"{where}: {network.kind} has no feature maps: choose another network") from None
    except RuntimeError:
        raise UserError(
            f"{where}: images of {height}x{width} are too small for {network.kind}: set --data.size"
        ) from None
    channels = [features.shape[1] for features in maps]
    given = [len(weights) for weights in channel_weights or ()]
    if channel_weights is not None and given != channels:
        raise UserError(f"{path}: factors for maps of {given} channels, but {network.kind} has maps of {channels}")


def _digest(network: FeatureNetwork, channel_weights: Sequence[Tensor] | None) -> str:
    if channel_weights is None:
        return network.digest
    own = weights_digest({str(index): weights for index, weights in enumerate(channel_weights)})
    return hashlib.sha256(f"{network.digest} {own}".encode()).hexdigest()
