"""The judge: a small classifier of CIFAR-10 that this package trains and ships, kept out of every loss."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.errors import UserError
from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import load_weights, weights_digest

SHIPPED = "judge.safetensors"
_STEM_CHANNELS = 24  # 12 directions of 2x2 colour patches, and the same with the sign turned
_LOGIT_SCALE = 1 / 9


class Judge(FeatureNetwork):
    """A classifier of 32x32 images; features: the input of its last layer. The shipped weights are not for losses.

    The network is that of arXiv 2404.00498, section 3.1, with settings of its own: a frozen 2x2 convolution that
    whitens patches, then three blocks of two 3x3 convolutions with batch normalisation (its scale fixed at 1) and
    GELU, a max-pool in each block and one at the end.

    Args:
        widths: channels of the three blocks; the last is F, the number of features.
        classes: number of classes.
    """

    side, kind = 32, "judge"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        """Settings of the class; without ``weights``, the shipped judge."""

        kind: Literal["judge"] = "judge"

        def build(self) -> "Judge":
            """Make the network with its weights, in eval mode."""
            return load_judge(None if self.weights is None else Path(self.weights))

    def __init__(self, widths: tuple[int, int, int] = (64, 256, 256), *, classes: int = 10) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"widths": list(widths), "classes": classes}
        self.stem = nn.Conv2d(3, _STEM_CHANNELS, 2).requires_grad_(False)
        befores = (_STEM_CHANNELS, *widths[:-1])
        self.blocks = nn.ModuleList(_block(before, after) for before, after in zip(befores, widths, strict=True))
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the three blocks: for 32x32 pixels, of 15x15, 7x7 and 3x3."""
        x, found = F.gelu(self.stem(images)), list[Tensor]()
        for block in self.blocks:
            found.append(x := block(x))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float [B, F]: the largest activation of each channel of the last block."""
        return self.maps(images)[-1].amax((2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the classes, float [B, classes], of images float [B, 3, 32, 32] in [-1, 1]."""
        return self.head(self(images)) * _LOGIT_SCALE

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the first layer from the covariance of the 2x2 patches of images, float [N, 3, H, W] in [-1, 1]."""
        patches = images.double().unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        patches = patches.flatten(1)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        filters = (vectors / (values + 5e-4).sqrt()).T
        filters = torch.cat([filters, -filters])
        self.stem.weight.copy_(filters.view(-1, 3, 2, 2))
        cast(Tensor, self.stem.bias).copy_(-filters @ patches.mean(0))


def _block(before: int, after: int) -> nn.Sequential:
    first, second = (
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
    )
    for convolution in (first, second):  # the first channels start as copies of the input's
        nn.init.dirac_(convolution.weight[: min(convolution.weight.shape[:2])])
    return nn.Sequential(first, nn.MaxPool2d(2), _norm(after), nn.GELU(), second, _norm(after), nn.GELU())


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def load_judge(path: Path | None = None) -> Judge:
    """Read a judge, by default the shipped one; in eval mode, in float32, without gradients to its weights.

    Raises:
        UserError: for a file that is missing, damaged or of another network.
    """
    path = path or Path(str(resources.files("vqvae.features") / SHIPPED))
    card, weights = load_weights(path)
    if card.get("network") != "judge":
        raise UserError(f"{path}: weights of the network '{card.get('network')}', not of a judge")
    judge = Judge(tuple(card["settings"]["widths"]), classes=card["settings"]["classes"])
    judge.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    judge.facts, judge.digest = card, weights_digest(weights)
    judge = judge.eval().requires_grad_(False)
    return judge.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
