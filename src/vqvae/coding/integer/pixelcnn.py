"""The gated PixelCNN with whole numbers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.coding.integer.layers import IntegerAffine, rounded
from vqvae.coding.integer.prior import PRIORS, IntegerPrior
from vqvae.coding.integer.tables import ONE, look_up, sigmoid, tanh
from vqvae.priors import PixelCNN
from vqvae.priors.pixelcnn import GatedLayer


@PRIORS.of(PixelCNN)
class IntegerPixelCNN(IntegerPrior):
    """A gated PixelCNN without a class, with whole numbers.

    Args:
        prior: the prior in floating point, on the CPU.
    """

    @torch.no_grad()
    def __init__(self, prior: PixelCNN) -> None:
        super().__init__(prior)
        layers = [_Layer(layer, prior.num_classes) for layer in prior.layers if isinstance(layer, GatedLayer)]
        self.layers: list[_Layer] = nn.ModuleList(layers)  # pyright: ignore[reportAttributeAccessIssue]

    def features(self, embedded: Tensor) -> Tensor:
        """Return the features of each position, as ``IntegerPrior.features``."""
        v = h = embedded.permute(0, 3, 1, 2)
        for layer in self.layers:
            v, h = layer.whole(v, h)
        return h.permute(0, 2, 3, 1)

    def positions(self, count: int, grid: tuple[int, int]) -> "_Positions":
        """Return the network before its first position, as ``IntegerPrior.positions``."""
        return _Positions(self, count, grid)


class _Layer(nn.Module):
    """A gated layer with whole numbers."""

    above: Tensor
    left: Tensor

    def __init__(self, layer: GatedLayer, num_classes: int) -> None:
        super().__init__()
        self.first, self.reach = layer.first, layer.reach
        self.vertical, self.horizontal = IntegerAffine(layer.vertical), IntegerAffine(layer.horizontal)
        self.link, self.out = IntegerAffine(layer.link), IntegerAffine(layer.out)
        above, left = layer.biases(torch.tensor([num_classes]))
        for name, bias in (("above", above), ("left", left)):
            own = rounded(bias)[:, :, None, None] if isinstance(bias, Tensor) else torch.zeros(1, 1, 1, 1).double()
            self.register_buffer(name, own)

    def whole(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks' features, [B, width, H, W], as ``GatedLayer.forward``."""
        height, width, reach = *v.shape[2:], self.reach
        above = self.vertical(F.pad(v, (reach, reach, reach, 0)))[:, :, :height] + self.above
        left = self.horizontal(F.pad(h, (reach, 0, 0, 0)))[:, :, :, :width] + self.left
        out = self.out(_gate(left + self.link(above)))
        return _gate(above), out if self.first else h + out


class _Positions:
    """The network, one position after another: a row of the vertical stack, then its positions."""

    def __init__(self, prior: IntegerPixelCNN, count: int, grid: tuple[int, int]) -> None:
        self.prior, self.grid = prior, grid
        width, reach = prior.embedding.shape[2], prior.layers[0].reach
        shape = count, width, grid[0] + reach, grid[1] + 2 * reach
        # inputs of each layer, with zeros around; the first layer reads the embedded codes in both stacks
        self.v = [torch.zeros(shape, dtype=torch.float64) for _ in prior.layers]
        self.h = [torch.zeros(count, width, 1, grid[1] + reach, dtype=torch.float64) for _ in prior.layers]
        self.links: list[Tensor] = []
        self.position = 0

    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], given the embedding of the one before it."""
        if embedded is not None:
            row, column = divmod(self.position - 1, self.grid[1])
            reach = self.prior.layers[0].reach
            self.v[0][:, :, reach + row, reach + column] = embedded
            self.h[0][:, :, 0, reach + column] = embedded
        row, column = divmod(self.position, self.grid[1])
        if column == 0:
            self._begin_row(row)
        self.position += 1
        found = self.h[0]
        for number, (layer, link) in enumerate(zip(self.prior.layers, self.links, strict=True)):
            reach, taps = layer.reach, layer.horizontal.weight.shape[3]
            inputs = self.h[number]
            left = layer.horizontal(inputs[..., column : column + taps]) + layer.left
            out = layer.out(_gate(left + link[..., column : column + 1]))
            found = out if layer.first else inputs[..., reach + column : reach + column + 1] + out
            if number + 1 < len(self.h):
                self.h[number + 1][..., reach + column : reach + column + 1] = found
        return found[:, :, 0, 0]

    def _begin_row(self, row: int) -> None:
        """Compute the vertical stack of a row, whose codes it does not read."""
        self.links = []
        for number, layer in enumerate(self.prior.layers):
            reach, taps = layer.reach, layer.vertical.weight.shape[2]
            above = layer.vertical(self.v[number][:, :, row : row + taps]) + layer.above
            self.links.append(layer.link(above))
            if number + 1 < len(self.v):
                self.v[number + 1][:, :, reach + row, reach : reach + self.grid[1]] = _gate(above)[:, :, 0]
            self.h[number].zero_()


def _gate(x: Tensor) -> Tensor:
    """Return tanh(a) * sigmoid(b) of the two halves of x, in units of 1 / ONE."""
    a, b = x.chunk(2, 1)
    return (look_up(tanh(), a) * look_up(sigmoid(), b) / ONE + 0.5).floor()
