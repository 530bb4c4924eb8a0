"""The base class of feature networks: the features of an image as one vector, and as maps at several depths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Config
from vqvae.errors import UserError
from vqvae.tensors import images_from_pixels


class FeatureNetwork(nn.Module):
    """A trained network that does not learn any more.

    Attributes:
        kind: name of the network in protocols.
        side: height and width of the images that the network was trained on; None for a network that takes images
            of any size as they are. ``features`` resizes to it, ``maps`` never resizes.
        facts: facts on the card of the weights: data, accuracy, ...
        digest: SHA-256 of the weights, in hex; see ``vqvae.features.files.weights_digest``.
        called: the names that the literature gives to metrics in these features, such as ``FID`` for ``frechet``.
    """

    kind: ClassVar[str] = ""
    side: ClassVar[int | None] = None
    facts: Mapping[str, Any] = {}
    digest: str = ""
    called: Mapping[str, str] = {}

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return feature maps, float [B, C_i, h_i, w_i], shallow ones first; differentiable in the images.

        Args:
            images: float [B, 3, H, W] in [-1, 1].
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define maps")

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float [B, F]: by default, the mean of each channel of the last map.

        Args:
            images: float [B, 3, H, W] in [-1, 1], of the network's size.
        """
        return self.maps(images)[-1].mean((2, 3))

    @property
    def resize(self) -> str:
        """How ``features`` resizes images, in words."""
        return "none" if self.side is None else f"bicubic, antialiased, to {self.side}x{self.side}"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features of images of any size, float32 [B, F].

        Args:
            images: float [B, 1 or 3, H, W] in [-1, 1]; a grey channel is repeated.
        """
        images = images.float().expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        if self.side is not None and images.shape[2:] != (self.side, self.side):
            size = (self.side, self.side)
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(-1.0, 1.0)
        return self(images).float()

    def features_of_pixels(
        self, pixels: Tensor, *, batch_size: int = 250, advance: Callable[[int], object] = lambda count: None
    ) -> Tensor:
        """Return the features of many images, float64 [N, F], on the CPU.

        Args:
            pixels: uint8 [N, 1 or 3, H, W].
            batch_size: affects speed and memory only.
            advance: called with the number of images of each batch that is done.
        """
        found: list[Tensor] = []
        device = next(self.parameters()).device
        for part in pixels.split(batch_size):
            found.append(self.features(images_from_pixels(part.to(device))).cpu().double())
            advance(len(part))
        return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Config):
    """Settings of a feature network; each kind defines ``build``.

    A loss that has a feature network has a field of this type in its own config. The card of a tokenizer then
    names the network, and the network does not judge the tokenizer: see ``vqvae.features.networks_in``.

    Attributes:
        weights: path of the file of weights. ``null`` takes the weights in the package; squeezenet has none there.
    """

    default_kind: ClassVar[str | None] = "squeezenet"

    weights: str | None = None

    @classmethod
    def component(cls) -> str:
        """Return the word for the component in messages."""
        return "feature network"

    def given_weights(self) -> Path:
        """Return the path of the weights, for a network whose weights are not in the package.

        Raises:
            UserError: when no path is given.
        """
        if self.weights is None:
            kind = getattr(self, "kind", "")
            raise UserError(f"{kind}: its weights are not shipped: pass {kind}:PATH")
        return Path(self.weights)

    def build(self) -> FeatureNetwork:
        """Make the network, in eval mode, with its weights; none of them requires a gradient.

        Raises:
            UserError: for a file of weights that is missing or of another network.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the network")
