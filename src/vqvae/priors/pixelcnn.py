"""The gated PixelCNN, a prior over codes without a blind spot (arXiv 1606.05328, section 2).

Sampling computes each feature once (Ramachandran et al., arXiv 1704.06001). At a batch size of 1, calling
operations takes more time than arithmetic. So the cache uses few operations:

- ``tanh(a) * sigmoid(b) = 2 * sigmoid(2 * a) * sigmoid(b) - sigmoid(b)``: one sigmoid over both halves and one
  addcmul. On a CPU, a sigmoid takes a third of the time of a tanh. The cache computes the negative gate; the sign
  and the factor 2 are folded into the weights, which does not round.
- A column of ones beside the gated features adds the bias; addmm adds the residual.
- Every view is made once, and every result is written where the next operation reads it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, Fraction
from vqvae.priors.base import Prior, PriorModelConfig
from vqvae.priors.cache import PriorCache
from vqvae.priors.codes import CodeEmbedding, CodeHead
from vqvae.priors.steps import PriorSteps
from vqvae.tensors import CodeSpec


def gate(x: Tensor) -> Tensor:
    """Return tanh(a) * sigmoid(b) of the two halves of x (arXiv 1606.05328, equation 2)."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of the vertical and the horizontal stack (arXiv 1606.05328, figure 2).

    The kernels are cropped instead of masked, so every weight is used. The vertical stack at row i sees the rows
    above it. The horizontal stack at (i, j) sees row i of the vertical stack and the positions left of j. In every
    layer except the first, it also sees position j, whose features hold only earlier codes.

    Args:
        width: number of channels of each stack.
        kernel: number of columns of the vertical kernel, odd. A layer sees (kernel - 1) / 2 rows above and as many
            columns to the left.
        first: whether the input is the embedded codes.
        classes: number of labels that have a class bias; 0 for no bias.
        dropout: share of the horizontal stack's gated features that training sets to 0.
    """

    def __init__(self, width: int, kernel: int, *, first: bool, classes: int, dropout: float) -> None:
        super().__init__()
        self.first = first
        self.reach = kernel // 2
        self.dropout = dropout
        taps = self.reach if first else self.reach + 1
        self.vertical = nn.Conv2d(width, 2 * width, (taps, kernel))
        self.horizontal = nn.Conv2d(width, 2 * width, (1, taps))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.class_bias = nn.Embedding(classes, 4 * width) if classes else None

    def biases(self, labels: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """Return the class biases of both stacks, [B, 2 * width] each, before their gates (equation 4)."""
        if self.class_bias is None:
            return 0.0, 0.0
        vertical, horizontal = self.class_bias(labels).chunk(2, 1)
        return vertical, horizontal

    def forward(self, v: Tensor, h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks' features, [B, width, H, W], to the next layer's."""
        height, width, reach = *v.shape[2:], self.reach
        vertical_bias, horizontal_bias = (
            bias[:, :, None, None] if isinstance(bias, Tensor) else bias for bias in self.biases(labels)
        )
        above = self.vertical(F.pad(v, (reach, reach, reach, 0)))[:, :, :height] + vertical_bias
        left = self.horizontal(F.pad(h, (reach, 0, 0, 0)))[:, :, :, :width] + horizontal_bias
        gated = F.dropout(gate(left + self.link(above)), self.dropout, self.training)
        out = self.out(gated)
        return gate(above), out if self.first else h + out


class PixelCNN(Prior):
    """A gated PixelCNN: convolutions over earlier positions give p(code | the codes before it, class).

    Args:
        num_codes: number of codes K in the codebook.
        codes_per_position: number of codes n at each position.
        grid: height and width (h, w) of the training codes, the default shape of samples; any other grid works.
        num_classes: number of classes; 0 for a prior without classes.
        width: number of channels of each of the two stacks.
        layers: number of gated layers; a code depends on codes up to layers * (kernel - 1) / 2 rows and columns
            away.
        kernel: size of the convolutions: 3, 5, 7 or 9.
        head_width: number of hidden units of the head that predicts a code.
        dropout: share of the gated features that training sets to 0.

    Raises:
        ValueError: for an argument that the ``Config`` would refuse.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PriorModelConfig):
        """Settings of the class."""

        kind: Literal["pixelcnn"] = "pixelcnn"
        width: Count = 64
        layers: Count = 12
        kernel: Literal[3, 5, 7, 9] = 3
        head_width: Count = 256
        dropout: Fraction = 0.0

        def build(self, spec: CodeSpec, *, num_classes: int = 0) -> "PixelCNN":
            """Make the prior."""
            return PixelCNN(**self.arguments(spec, num_classes))

        def blindness(self, grid: tuple[int, int]) -> str:
            """Say so if the convolutions do not reach from each code of the grid to all earlier codes."""
            each = self.kernel // 2
            reach, farthest = self.layers * each, max(grid) - 1
            if reach >= farthest:
                return ""
            return (
                f"a code of the prior depends on codes up to {reach} rows and columns away, and the grid is "
                f"{grid[0]}x{grid[1]}: --model.layers {-(-farthest // each)} would reach all codes"
            )

    def __init__(
        self,
        num_codes: int,
        *,
        codes_per_position: int = 1,
        grid: tuple[int, int] = (8, 8),
        num_classes: int = 0,
        width: int = Config.width,
        layers: int = Config.layers,
        kernel: int = Config.kernel,
        head_width: int = Config.head_width,
        dropout: float = Config.dropout,
    ) -> None:
        self.Config.check(width=width, layers=layers, kernel=kernel, head_width=head_width, dropout=dropout)
        spec = CodeSpec(grid, codes_per_position, num_codes)
        super().__init__(spec, num_classes=num_classes)
        self.embedding = CodeEmbedding(spec, width)
        classes = num_classes + 1 if num_classes else 0  # one more: no class
        self.layers = nn.ModuleList(
            GatedLayer(width, kernel, first=layer == 0, classes=classes, dropout=dropout)
            for layer in range(layers)
        )
        self.head = CodeHead(spec, width, head_width)

    def features(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return features, float [B, h, w, width], of codes [B, h, w, n] and labels [B]."""
        v = h = self.embedding(codes).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            v, h = layer(v, h, labels)
        return h.permute(0, 2, 3, 1)

    def cache(self, count: int, grid: tuple[int, int], labels: Tensor) -> PriorCache:
        """Return a cache that computes each feature once."""
        return PriorCache(_PixelCNNPositions(self, count, grid, labels), self.embedding, self.head)

    def steps(self) -> PriorSteps:
        """Return the steps of a row and of a position."""
        from vqvae.priors.pixelcnn_steps import pixelcnn_steps  # it imports this module

        return pixelcnn_steps(self)

    def sharding_units(self) -> list[nn.Module]:
        """Return the layers, and the prior around them."""
        return [*self.layers, self]


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


class _Doubling:
    """Factors of weights, [2 * channels], that make gates [2 * a, b] instead of [a, b]."""

    def __init__(self, channels: int, like: Tensor) -> None:
        self.gates = torch.cat([like.new_full((channels,), 2.0), like.new_ones(channels)])
        self.gates_of_gated = -self.gates  # for an input that _gate wrote
        self.gates_of_gates = self.gates / self.gates[:, None]  # for an input that is doubled gates


def _gate(gates: Tensor, out: Tensor) -> None:
    """Write the negative of the gate of [..., 2 * a, b] into ``out``; the gates are overwritten."""
    a, b = gates.sigmoid_().chunk(2, -1)
    torch.addcmul(b, a, b, value=-2, out=out)


class _VerticalCache:
    """A layer's vertical stack, a row at a time: patches of the rows that its kernel sees."""

    def __init__(self, layer: GatedLayer, count: int, width: int, labels: Tensor, doubling: _Doubling) -> None:
        rows, kernel = layer.vertical.kernel_size
        channels, reach = layer.out.weight.shape[1], layer.reach
        # the input of the first layer is codes; the input of the others is the output of _gate
        factor = doubling.gates if layer.first else doubling.gates_of_gated
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
        """Repeat a bias of each grid, [B, 2C], for each position; a bias of all grids, [2C], stays as it is."""
        return bias if bias.dim() == 1 else bias[:, None].expand(count, width, -1).flatten(0, 1)

    def run(self, out: Tensor | None) -> None:
        """Take the input ``row``; write the features to ``out`` and the link's output to ``link``."""
        oldest = self.patches.pop(0)
        oldest.view(self.windows.shape).copy_(self.windows)
        self.patches.append(oldest)
        gates = self.bias
        for patches, weight in zip(self.patches, self.weights, strict=True):
            gates = torch.addmm(gates, patches, weight, out=self.gates)
        torch.addmm(self.link_bias, self.gates, self.link_weight, out=self.link)
        if out is not None:
            _gate(self.gates.view(*out.shape[:2], self.gates.shape[1]), out)  # -1 fails for 0 grids


class _HorizontalCache:
    """A layer's horizontal stack, a position at a time: its inputs of the present row."""

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
        gates = link.view(count, width, link.shape[1])  # read once, so the gates are computed in place
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


class _PixelCNNPositions:
    """Every layer's features that later positions read: the vertical stack a row at a time, the other a position.

    It is made for one number of grids of one shape, and holds copies of the weights.
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
        """Return the features of the next position, [B, width], given the embedding of the one before it."""
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
