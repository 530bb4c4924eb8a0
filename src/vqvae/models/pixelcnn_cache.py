"""A PixelCNN one position at a time: each feature is computed once (Ramachandran et al., arXiv 1704.06001).

At a batch of one the time goes into calling operations, not into arithmetic, so each does as much as it can:

- ``tanh(a) * sigmoid(b) = (tanh(a) + tanh(a) * tanh(b / 2)) / 2``: one tanh over both halves, then one addcmul.
  The halves are folded into the weights, and scaling by a power of two rounds nothing.
- A column of ones beside the gated features carries the bias, and addmm carries the residual.
- Every view is made once, and every result is written where the next operation reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vqvae.models.pixelcnn import GatedLayer, PixelCNN


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _halving(channels: int, like: Tensor) -> Tensor:
    """Return the factors of the gates [a, b / 2], [2 * channels]."""
    return torch.cat([like.new_ones(channels), like.new_full((channels,), 0.5)])


def _gate(gates: Tensor, out: Tensor) -> None:
    """Write twice the gate of [..., a, b / 2] into ``out``; the gates are overwritten."""
    a, b = gates.tanh_().chunk(2, -1)
    torch.addcmul(a, a, b, out=out)


class _VerticalCache:
    """A layer's vertical stack, a row at a time: the patches around the rows that its kernel still sees."""

    def __init__(self, layer: GatedLayer, count: int, width: int, bias: Tensor, link_bias: Tensor) -> None:
        rows, kernel = layer.vertical.kernel_size
        channels, reach = layer.out.weight.shape[1], layer.reach
        halving = _halving(channels, bias)
        read = 1.0 if layer.first else 0.5  # codes, or what _gate writes
        weight = layer.vertical.weight.permute(2, 3, 1, 0) * (read * halving)
        self.weights = weight.flatten(1, 2).unbind()
        link = layer.link.weight[:, :, 0, 0].T.contiguous()
        self.link_weight = link * (halving / halving[:, None])  # it reads the gates as halved, too
        self.bias, self.link_bias = (
            (b * halving)[:, None].expand(-1, width, -1).flatten(0, 1) for b in (bias, link_bias)
        )
        self.patches = [weight.new_zeros(count * width, kernel * channels) for _ in range(rows)]
        canvas = weight.new_zeros(count, reach + width + reach, channels)
        self.row = canvas[:, reach : reach + width]
        self.windows = canvas.unfold(1, kernel, 1).transpose(2, 3)  # [B, W, kernel, C]
        self.gates = weight.new_empty(count * width, 2 * channels)
        self.link = torch.empty_like(self.gates)

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

    def __init__(self, layer: GatedLayer, count: int, width: int, link: Tensor) -> None:
        channels, taps = layer.out.weight.shape[1], layer.horizontal.kernel_size[1]
        self.first, reach = layer.first, layer.reach
        weight = layer.horizontal.weight[:, :, 0].permute(2, 1, 0)
        self.weight = (weight * _halving(channels, link)).flatten(0, 1)
        out = 0.5 * layer.out.weight[:, :, 0, 0].T
        self.out_weight = torch.cat([out, _bias(layer.out)[None]])
        row = out.new_zeros(count, reach + width, channels)
        self.row = row[:, reach:]
        self.at = self.row.unbind(1)
        flat = row.flatten(1)
        self.taps = [flat[:, c * channels : (c + taps) * channels] for c in range(width)]
        self.link = link.view(count, width, -1).unbind(1)
        self.gates = out.new_empty(count, 2 * channels)
        self.a, self.b = self.gates.chunk(2, 1)
        self.gated_and_one = out.new_ones(count, channels + 1)
        self.gated = self.gated_and_one[:, :channels]

    def run(self, column: int, out: Tensor) -> None:
        """Write the features at a column into ``out``, [B, C]."""
        torch.addmm(self.link[column], self.taps[column], self.weight, out=self.gates)
        self.gates.tanh_()
        torch.addcmul(self.a, self.a, self.b, out=self.gated)
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
        for layer in layers:
            zero = layer.vertical.weight.new_zeros(count, len(layer.vertical.weight))
            above, left = layer.biases(labels)
            link_bias = zero + _bias(layer.horizontal) + _bias(layer.link) + left
            self.vertical.append(
                _VerticalCache(layer, count, width, zero + _bias(layer.vertical) + above, link_bias)
            )
            self.horizontal.append(_HorizontalCache(layer, count, width, self.vertical[-1].link))
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
