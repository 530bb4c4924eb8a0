"""VGG16 (arXiv 1409.1556), trained on ImageNet by others; weights by path, with torchvision's names."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import with_weights
from vqvae.features.imagenet import maps_after, standardised

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels of convolutions
_MAPS = (3, 8, 15, 22, 29)  # the last ReLU of each stage: the layers of LPIPS


class VGG16(FeatureNetwork):
    """VGG16 without its classifier; the features are the means of the channels of the last map.

    It takes images of any size as they are, from 16 pixels on a side.
    """

    kind = "vgg16"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        """Settings of the class; ``weights`` is required: the package ships none."""

        kind: Literal["vgg16"] = "vgg16"

        def build(self) -> "VGG16":
            """Make the network with its weights, in eval mode."""
            return with_weights(VGG16(), self.given_weights(), "VGG16", prefix="features.")

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in _STAGES:
            for after in stage:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
                before = after
            layers.append(nn.MaxPool2d(2))
        for index, layer in enumerate(layers[:-1]):  # torchvision's names of the weights
            self.add_module(str(index), layer)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the last maps of the five stages: 64, 128, 256, 512 and 512 channels."""
        return maps_after(_MAPS, self.children(), standardised(images))
