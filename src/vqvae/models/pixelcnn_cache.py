"""A PixelCNN one code at a time: each feature is computed once (Ramachandran et al., arXiv 1704.06001)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vqvae.models.pixelcnn import GatedLayer, PixelCNN


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.tanh(a) * torch.sigmoid(b)


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


class _LayerCache:
    """One layer's weights as matrices and its inputs so far, channels last, zero-padded as the convolution pads.

    The vertical stack runs once a row over the whole row, the horizontal one once a position.
    """

    def __init__(self, layer: GatedLayer, count: int, grid: tuple[int, int], labels: Tensor) -> None:
        height, width = grid
        self.first = layer.first
        self.reach = reach = layer.reach
        self.rows, self.kernel = layer.vertical.kernel_size
        self.taps = layer.horizontal.kernel_size[1]
        self.vertical_weight = layer.vertical.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        self.horizontal_weight = layer.horizontal.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        self.link_weight = layer.link.weight[:, :, 0, 0].T.contiguous()
        self.out_weight = layer.out.weight[:, :, 0, 0].T.contiguous()
        vertical_bias, horizontal_bias = layer.biases(labels)
        zero = layer.vertical.weight.new_zeros(count, len(layer.vertical.weight))
        self.vertical_bias = zero + _bias(layer.vertical) + vertical_bias
        self.horizontal_bias = zero + _bias(layer.horizontal) + _bias(layer.link) + horizontal_bias
        self.out_bias = _bias(layer.out)
        channels = layer.out.weight.shape[1]
        self.above = zero.new_zeros(count, reach + height, reach + width + reach, channels)
        self.left = zero.new_zeros(count, reach + width, channels)
        self.link = zero.new_zeros(count, width, zero.shape[1])

    def begin_row(self, row: int) -> Tensor:
        """Run the vertical stack over a row; keep what it links to the horizontal one; return its features."""
        window = self.above[:, row : row + self.rows].unfold(2, self.kernel, 1)  # [B, rows, W, C, kernel]
        patches = window.permute(0, 2, 1, 4, 3).flatten(2)
        above = patches @ self.vertical_weight + self.vertical_bias[:, None]
        self.link = above @ self.link_weight + self.horizontal_bias[:, None]
        return _gate(above)

    def at(self, column: int) -> Tensor:
        """Run the horizontal stack at a position, [B, C]."""
        taps = self.left[:, column : column + self.taps].flatten(1)
        gated = _gate(torch.addmm(self.link[:, column], taps, self.horizontal_weight))
        out = torch.addmm(self.out_bias, gated, self.out_weight)
        return out if self.first else out.add_(self.left[:, self.reach + column])


class PixelCNNCache:
    """Where ``count`` grids stand: which code is next, and every layer's features of the codes before it.

    Made for one grid shape; ``note`` and ``next_logits`` alternate, ``next_logits`` first.
    """

    def __init__(self, model: PixelCNN, count: int, grid: tuple[int, int], labels: Tensor) -> None:
        self.model = model
        self.width = grid[1]
        self.layers = [_LayerCache(layer, count, grid, labels) for layer in model.layers]  # pyright: ignore
        self.index = 0
        self.features = self.layers[0].out_bias
        self.codes: list[Tensor] = []  # of the present position

    def next_logits(self) -> Tensor:
        """Return the logits of the next code, float [B, K]."""
        position, depth = divmod(self.index, self.model.codes_per_position)
        head = self.model.head
        if depth == 0:
            row, column = divmod(position, self.width)
            if column == 0:
                self._begin_row(row)
            self.features = self._horizontal(column)
        else:
            self.features = self.features + head.embedded(self.codes[-1][:, None], depth - 1)[:, 0]
        return head.answer(self.features + head.place[depth])

    def note(self, code: Tensor) -> None:
        """Note the code that was drawn, int64 [B]."""
        self.codes.append(code)
        self.index += 1
        if len(self.codes) == self.model.codes_per_position:
            embedded = self.model.embed(torch.stack(self.codes, 1))
            row, column = divmod(self.index // self.model.codes_per_position - 1, self.width)
            first = self.layers[0]
            first.left[:, first.reach + column] = embedded
            first.above[:, first.reach + row, first.reach + column] = embedded
            self.codes = []

    def _begin_row(self, row: int) -> None:
        for layer, after in zip(self.layers, [*self.layers[1:], None], strict=True):
            features = layer.begin_row(row)
            if after:
                after.above[:, after.reach + row, after.reach : after.reach + self.width] = features

    def _horizontal(self, column: int) -> Tensor:
        features = self.features
        for layer, after in zip(self.layers, [*self.layers[1:], None], strict=True):
            features = layer.at(column)
            if after:
                after.left[:, after.reach + column] = features
        return features
