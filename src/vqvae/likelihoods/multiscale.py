"""A mixture of logistics predicted coarse to fine: groups of pixels, each given the groups before it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, CountOrZero
from vqvae.likelihoods.base import Place
from vqvae.likelihoods.corrected import CorrectedMixtureConfig, CorrectedMixtureLikelihood
from vqvae.tensors import images_from_pixels

_ORDER = (
    (0, 0),
    (1, 1),
    (0, 1),
    (1, 0),
)  # row and column in a cell of 2x2 pixels: the coarser image, then 3 groups


class Group(NamedTuple):
    """Pixels that are predicted at once.

    Attributes:
        level: the group belongs to the image of every 2^level-th row and column.
        number: 1, 2 or 3, in the order in which the groups of a cell of 2x2 pixels follow the coarser image.
    """

    level: int
    number: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the group in the image."""
        step = 2**self.level
        row, column = _ORDER[self.number]
        return slice(row * step, None, 2 * step), slice(column * step, None, 2 * step)


class MultiscaleLikelihood(CorrectedMixtureLikelihood):
    """A mixture of logistics for each pixel, given the codes and the pixels before it (arXiv 1703.03664).

    The pixels of even rows and columns form an image of half the size. The coarsest such image comes first; its
    pixels are independent given the codes. Then three groups of pixels follow at each level, from coarse to fine:
    the pixels of odd rows and odd columns, of even rows and odd columns, and of odd rows and even columns. A small
    network reads the groups before and corrects the decoder's parameters of the group. The pixels of a group are
    independent given all that came before. So a file is decoded in 1 + 3 * levels passes.

    The mean image comes from the decoder's parameters alone, without corrections. A second term of the loss,
    weighted by ``alone``, trains these parameters.

    Args:
        channels: number of channels C of the images.
        components: number of logistics M of a pixel.
        levels: number of halvings.
        width: channels of the networks.
        blocks: residual blocks of each network.
        alone: weight, in the loss, of -log p of the pixels given the codes alone.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(CorrectedMixtureConfig):
        """Settings of the class."""

        kind: Literal["multiscale"] = "multiscale"
        levels: Count = 2
        width: Count = 64
        blocks: CountOrZero = 2

        def build(self, *, channels: int) -> "MultiscaleLikelihood":
            """Make the likelihood for images of C channels."""
            return MultiscaleLikelihood(channels, **self.settings())

    def __init__(
        self,
        channels: int = 3,
        *,
        components: int = Config.components,
        levels: int = Config.levels,
        width: int = Config.width,
        blocks: int = Config.blocks,
        alone: float = Config.alone,
    ) -> None:
        self.Config.check(components=components, levels=levels, width=width, blocks=blocks, alone=alone)
        super().__init__(channels, components=components, alone=alone)
        self.levels = levels
        self.networks = nn.ModuleDict(
            {
                _name(group): _network(group.number * channels, self.out_channels, width, blocks)
                for group in self.groups()
            }
        )

    def groups(self) -> Iterator[Group]:
        """Yield the groups in their order; the coarsest image comes before them."""
        for level, number in product(reversed(range(self.levels)), (1, 2, 3)):
            yield Group(level, number)

    def network_of(self, group: Group) -> nn.Module:
        """Return the network of a group: [B, number * C + out_channels, h, w] to [B, out_channels, h, w]."""
        return self.networks[_name(group)]

    def given(self, parameters: Tensor, pixels: Tensor) -> Tensor:
        """Return the parameters of each pixel given the codes and the pixels before it, as the base class."""
        corrected = parameters.clone()
        images = images_from_pixels(pixels)
        for group in self.groups():
            rows, columns = group.place
            own = parameters[..., rows, columns]
            if own.numel():
                corrected[..., rows, columns] = own + self._correction(group, images, own)
        return corrected

    def _correction(self, group: Group, images: Tensor, own: Tensor) -> Tensor:
        network = self.network_of(group)
        weight = next(network.parameters())
        known = known_before(group, images, (own.shape[2], own.shape[3]))
        inputs = torch.cat([known.to(weight.dtype), own.to(weight.dtype)], 1)
        return network(inputs.contiguous(memory_format=torch.channels_last)).to(own.dtype)

    def coding_order(
        self, parameters: Tensor, pixels: Tensor
    ) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
        """Yield the coarsest image, then group by group, channel by channel, as ``Likelihood.coding_order``."""

        def correction(group: Group, own: Tensor) -> Tensor:
            with torch.no_grad():
                return self._correction(group, images_from_pixels(pixels), own)

        return coarse_to_fine(self, self.mixture.cumulative, correction, parameters, pixels)


def known_before(group: Group, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels of each cell that come before a group: [B, number * C, h, w], 0 outside of the image.

    Args:
        group: the group.
        images: [B, C, H, W].
        size: (h, w) of the group.
    """
    found: list[Tensor] = []
    for number in range(group.number):
        rows, columns = Group(group.level, number).place
        part = images[..., rows, columns][..., : size[0], : size[1]]
        found.append(F.pad(part, (0, size[1] - part.shape[3], 0, size[0] - part.shape[2])))
    return torch.cat(found, 1)


def coarse_to_fine(
    likelihood: MultiscaleLikelihood,
    cumulative: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]],
    correction: Callable[[Group, Tensor], Tensor],
    parameters: Tensor,
    pixels: Tensor,
) -> Iterator[tuple[Place, Callable[[Tensor], Tensor]]]:
    """Yield the coarsest image, then group by group, channel by channel, as ``Likelihood.coding_order``.

    Args:
        likelihood: the likelihood, whose groups these are.
        cumulative: of the mixture, as ``Likelihood.cumulative``.
        correction: from a group and the decoder's parameters of its pixels to what is added to these parameters;
            called once all pixels before the group are known.
        parameters: the decoder's output, [B, out_channels, H, W].
        pixels: uint8 [B, C, H, W].
    """
    step = slice(0, None, 2**likelihood.levels)
    for group in (None, *likelihood.groups()):
        place = (step, step) if group is None else group.place
        own = parameters[(..., *place)]
        if group is not None and own.numel():
            own = own + correction(group, own)
        for channel in range(likelihood.channels if own.numel() else 0):
            yield (slice(None), channel, *place), cumulative(own, pixels[:, :channel, *place])


def _name(group: Group) -> str:
    return f"level{group.level}_group{group.number}"


class _Block(nn.Module):
    """SiLU, 3x3 convolution, SiLU, 3x3 convolution, added to the input; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.act = nn.SiLU()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual."""
        return x + self.conv2(self.act(self.conv1(self.act(x))))


def _network(known: int, out_channels: int, width: int, blocks: int) -> nn.Sequential:
    last = nn.Conv2d(width, out_channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
    first = nn.Conv2d(known + out_channels, width, 3, padding=1)
    return nn.Sequential(first, *(_Block(width) for _ in range(blocks)), nn.SiLU(), last)
