"""AlexNet as torchvision has it (arXiv 1404.5997), trained on ImageNet by others; weights by path."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import with_weights
from vqvae.features.imagenet import maps_after, standardised

_MAPS = (1, 4, 7, 9, 11)  # the ReLU of each convolution: the layers of LPIPS


class AlexNet(FeatureNetwork):
    """AlexNet without its classifier; the features are the means of the channels of the last map.

    It takes images of any size as they are, from 31 pixels on a side.
    """

    kind = "alexnet"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        """Settings of the class; ``weights`` is required: the package ships none."""

        kind: Literal["alexnet"] = "alexnet"

        def build(self) -> "AlexNet":
            """Make the network with its weights, in eval mode."""
            return with_weights(AlexNet(), self.given_weights(), "AlexNet", prefix="features.")

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        for before, after in ((192, 384), (384, 256), (256, 256)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        for index, layer in enumerate(layers):  # torchvision's names of the weights
            self.add_module(str(index), layer)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps after the five convolutions: 64, 192, 384, 256 and 256 channels."""
        return maps_after(_MAPS, self.children(), standardised(images))
