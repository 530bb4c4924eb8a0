"""SqueezeNet 1.1 (arXiv 1602.07360), trained on ImageNet by others; its weights are given by path."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import with_weights

_MEAN_BGR = (103.939, 116.779, 123.68)
_FIRES = {  # name: channels in, squeezed, and of each of the two expansions
    "fire2": (64, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
_POOL_BEFORE = ("fire2", "fire4", "fire6")
_MAPS = ("fire3", "fire5", "fire6", "fire7", "fire8", "fire9")  # beside the first convolution: the layers of LPIPS


class Fire(nn.Module):
    """Squeeze with 1x1, expand with 1x1 and 3x3, concatenate: float [B, before, h, w] -> [B, 2 * each, h, w]."""

    def __init__(self, before: int, squeezed: int, each: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, each, 1)
        self.expand3x3 = nn.Conv2d(squeezed, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the expansions."""
        x = F.relu(self.squeeze1x1(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(FeatureNetwork):
    """SqueezeNet without its classifier; the features are the means of the channels of the last map.

    It takes images of any size as they are, from 17 pixels on a side.
    """

    kind = "squeezenet"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        """Settings of the class; ``weights`` is required: the package ships none."""

        kind: Literal["squeezenet"] = "squeezenet"

        def build(self) -> "SqueezeNet":
            """Make the network with its weights, in eval mode."""
            return with_weights(SqueezeNet(), self.given_weights(), "SqueezeNet 1.1")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        for name, (before, squeezed, each) in _FIRES.items():
            self.add_module(name, Fire(before, squeezed, each))
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).view(3, 1, 1), persistent=False)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps after conv1 and fire3, 5, 6, 7, 8 and 9: 64, 128, 256, 384, 384, 512, 512 channels."""
        x = (images.flip(1) + 1) * 127.5 - self.get_buffer("mean")
        found = [x := F.relu(self.conv1(x))]
        for name in _FIRES:
            if name in _POOL_BEFORE:
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
            x = self.get_submodule(name)(x)
            if name in _MAPS:
                found.append(x)
        return found
