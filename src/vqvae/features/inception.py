"""The InceptionV3 that defines FID (arXiv 1706.08500), through torch-fidelity; weights by path."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqvae.errors import UserError
from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import read_tensors, weights_digest
from vqvae.tensors import pixels_from_images

# SHA-256 of weights-inception-2015-12-05-6726825d.pth begins so: the weights of the first FID, converted
FID_WEIGHTS = "6726825d"


class Inception(FeatureNetwork):
    """InceptionV3 as TensorFlow ran it in 2015; the features are its 2,048 pooled activations.

    It has no maps: the perceptual term cannot use it.

    Args:
        extractor: torch-fidelity's network, uint8 [B, 3, H, W] -> a tuple of one tensor, float [B, 2048].
    """

    kind = "inception"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        """Settings of the class; ``weights`` is required: the package ships none."""

        kind: Literal["inception"] = "inception"

        def build(self) -> "Inception":
            """Make the network with its weights, in eval mode.

            Raises:
                UserError: without the extra ``fid``, and for weights that are missing or of another network.
            """
            path = self.given_weights()
            weights = read_tensors(path, "the weights of InceptionV3")  # first: torch-fidelity would run pickles
            network = Inception(_extractor(path))
            network.digest = weights_digest(weights)
            if hashlib.sha256(path.read_bytes()).hexdigest().startswith(FID_WEIGHTS):
                network.called = {"frechet": "FID", "kid": "KID"}
            return network.eval().requires_grad_(False)

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    @property
    def resize(self) -> str:
        """How ``features`` resizes images, in words."""
        return "bilinear, as TensorFlow 1 did, to 299x299"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features of images of any size, rounded to uint8, float32 [B, 2048]."""
        return self(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float32 [B, 2048], of images of any size, float [B, 1 or 3, H, W] in [-1, 1]."""
        (found,) = self.extractor(pixels_from_images(images).expand(-1, 3, -1, -1))
        return found


def _extractor(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError:
        raise UserError("inception needs an extra: pip install 'vqvae-toolkit[fid]'") from None
    try:
        return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not the weights of InceptionV3 for FID: {reason}") from None
