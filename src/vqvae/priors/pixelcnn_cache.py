"""A PixelCNN one position at a time: each feature is computed once (Ramachandran et al., arXiv 1704.06001).

At a batch of one the time goes into calling operations, not into arithmetic, so each does as much as it can:

- ``tanh(a) * sigmoid(b) = 2 * sigmoid(2 * a) * sigmoid(b) - sigmoid(b)``: one sigmoid over both halves, a third of
  the time of a tanh on a CPU, then one addcmul. It leaves the gate's negative; sign and factor are folded into the
  weights, and scaling by a power of two rounds nothing.
- A column of ones beside the gated features carries the bias, and addmm carries the residual.
- Every view is made once, and every result is written where the next operation reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vqvae.priors.pixelcnn import GatedLayer, PixelCNN


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


class _Doubling:
    """The factors that turn gates [a, b] into [2 * a, b], over the 2 * channels columns of what makes them."""

    def __init__(self, channels: int, like: Tensor) -> None:
        self.gates = torch.cat([like.new_full((channels,), 2.0), like.new_ones(channels)])
        self.gates_of_gated = -self.gates  # read from what _gate writes
        self.gates_of_gates = self.gates / self.gates[:, None]  # read from gates that are doubled already


def _gate(gates: Tensor, out: Tensor) -> None:
    """Write the negative of the gate of [..., 2 * a, b] into ``out``; the gates are overwritten."""
    a, b = gates.sigmoid_().chunk(2, -1)
    torch.addcmul(b, a, b, value=-2, out=out)


class _VerticalCache:
    """A layer's vertical stack, a row at a time: the patches around the rows that its kernel still sees."""

    def __init__(self, layer: GatedLayer, count: int, width: int, labels: Tensor, doubling: _Doubling) -> None:
        rows, kernel = layer.vertical.kernel_size
        channels, reach = layer.out.weight.shape[1], layer.reach
        factor = doubling.gates if layer.first else doubling.gates_of_gated  # reads codes, or what _gate writes
        self.weights = (layer.vertical.weight.permute(2, 3, 1, 0) * factor).flatten(1, 2).unbind()
        self.link_weight = layer.link.weight[:, :, 0, 0].T * doubling.gates_of_gates
        above, left = layer.biases(labels)
        self.bias = self._rows((_bias(layer.vertical) + above) * doubling.gates, count, width)
        link_bias = (_bias(layer.horizontal) + _bias(layer.link) + left) * doubling.gates
        self.link_bias = self._rows(link_bias, count, width)
        self.patches = list(factor.new_zeros(rows, count * width, kernel * channels).unbind())
        canvas = factor.new_zeros(count, reach + width + reach, channels)
        self.row = canvas[:, reach : reach + width]
        self.windows = canvas.unfold(1, kernel, 1).transpose(2, 3)  # [B, W, kernel, C]
        self.gates = factor.new_empty(count * width, 2 * channels)
        self.link = torch.empty_like(self.gates)

    @staticmethod
    def _rows(bias: Tensor, count: int, width: int) -> Tensor:
        """Return a bias [2C], the same for all grids, as it is; one for each grid, [B, 2C], for each position."""
        return bias if bias.dim() == 1 else bias[:, None].expand(count, width, -1).flatten(0, 1)

    def run(self, out: Tensor | None) -> None:
        """Take in the row that stands in ``row``; write features to ``out``, what it links to ``link``."""
        oldest = self.patches.pop(0)
        oldest.view(self.windows.shape).copy_(self.windows)
        self.patches.append(oldest)
        gates = self.bias
        for patches, weight in zip(self.patches, self.weights, strict=True):
            gates = torch.addmm(gates, patches, weight, out=self.gates)
        torch.addmm(self.link_bias, self.gates, self.link_weight, out=self.link)
        if out is not None:
            _gate(self.gates.view(*out.shape[:2], -1), out)


class _HorizontalCache:
    """A layer's horizontal stack, a position at a time: its inputs in the present row."""

    def __init__(self, layer: GatedLayer, count: int, width: int, link: Tensor, doubling: _Doubling) -> None:
        channels, taps = layer.out.weight.shape[1], layer.horizontal.kernel_size[1]
        self.first, reach = layer.first, layer.reach
        self.weight = (layer.horizontal.weight[:, :, 0].permute(2, 1, 0) * doubling.gates).flatten(0, 1)
        out = -layer.out.weight[:, :, 0, 0].T
        self.out_weight = torch.cat([out, _bias(layer.out)[None]])
        row = out.new_zeros(count, reach + width, channels)
        self.row = row[:, reach:]
        self.at = self.row.unbind(1)
        self.taps = row.flatten(1).unfold(1, taps * channels, channels).unbind(1)
        gates = link.view(count, width, -1)  # what the vertical stack left there is read once: gates in place
        self.gates = gates.unbind(1)
        self.a, self.b = (half.unbind(1) for half in gates.chunk(2, 2))
        self.gated_and_one = out.new_ones(count, channels + 1)
        self.gated = self.gated_and_one[:, :channels]

    def run(self, column: int, out: Tensor) -> None:
        """Write the features at a column into ``out``, [B, C]."""
        self.gates[column].addmm_(self.taps[column], self.weight).sigmoid_()
        b = self.b[column]
        torch.addcmul(b, self.a[column], b, value=-2, out=self.gated)
        if self.first:
            torch.mm(self.gated_and_one, self.out_weight, out=out)
        else:
            torch.addmm(self.at[column], self.gated_and_one, self.out_weight, out=out)


class PixelCNNCache:
    """Every layer's features that later positions still read: the vertical stack once a row, the other once each.

    Made for one number of grids of one shape; holds copies of the weights as they are now.
    """

    @torch.no_grad()
    def __init__(self, model: PixelCNN, count: int, grid: tuple[int, int], labels: Tensor) -> None:
        self.width = width = grid[1]
        self.position = 0
        self.vertical: list[_VerticalCache] = []
        self.horizontal: list[_HorizontalCache] = []
        layers: list[GatedLayer] = list(model.layers)  # pyright: ignore[reportAssignmentType]
        doubling = _Doubling(layers[0].out.weight.shape[1], layers[0].out.weight)
        for layer in layers:
            self.vertical.append(_VerticalCache(layer, count, width, labels, doubling))
            link = self.vertical[-1].link
            self.horizontal.append(_HorizontalCache(layer, count, width, link, doubling))
        self.features = torch.empty_like(self.horizontal[-1].at[0])

    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], after noting the embedding of the one before."""
        column = self.position % self.width
        if embedded is not None:
            self.horizontal[0].at[column - 1].copy_(embedded)
        if column == 0:
            self._begin_row()
        for layer, after in zip(self.horizontal, self.horizontal[1:], strict=False):
            layer.run(column, after.at[column])
        self.horizontal[-1].run(column, self.features)
        self.position += 1
        return self.features

    def _begin_row(self) -> None:
        if self.position:  # above the first row there is nothing
            self.vertical[0].row.copy_(self.horizontal[0].row)
        for layer, after in zip(self.vertical, self.vertical[1:], strict=False):
            layer.run(after.row)
        self.vertical[-1].run(None)
