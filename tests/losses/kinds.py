"""The losses of the package on small images, and a feature network that is small enough for seconds."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.features import FeatureNetwork, SqueezeNet
from vqvae.losses import L1, Adversarial, Charbonnier, Loss, Perceptual


class TwoMaps(FeatureNetwork):
    """A feature network of two convolutions with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, stride=2)

    def maps(self, images: Tensor) -> list[Tensor]:
        first = F.softplus(self.first(images))
        return [first, F.softplus(self.second(first))]


def perceptual() -> Perceptual:
    return Perceptual(TwoMaps(), channel_weights=[torch.rand(5), torch.rand(4)])


DISTANCES: dict[str, Callable[[], Loss]] = {"l1": L1, "charbonnier": Charbonnier, "perceptual": perceptual}
KINDS = DISTANCES | {"adversarial": lambda: Adversarial(3, width=8, layers=1)}


def make(kind: str) -> Loss:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KINDS[kind]()


def pair(size: int = 12, *, batch: int = 3, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Return images and a reconstruction of theirs, float64."""
    draw = torch.Generator().manual_seed(1)
    images, noise = (torch.rand(batch, channels, size, size, generator=draw).double() * 2 - 1 for _ in range(2))
    return images, 0.8 * images + 0.3 * noise


def random_squeezenet(path: Path, seed: int = 0) -> str:
    """Write SqueezeNet with random weights to a file; return the path."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(SqueezeNet().state_dict(), path)
    return str(path)
