"""The steps of a PixelCNN without memory: vertical stacks a row at a time, horizontal stacks a position."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.priors.pixelcnn import GatedLayer, PixelCNN, gate
from vqvae.priors.steps import PriorSteps, StepFunction


def pixelcnn_steps(prior: PixelCNN) -> PriorSteps:
    """Return the steps of a PixelCNN; they use the prior's own weights."""
    labels = ("labels",) if prior.num_classes else ()
    row = StepFunction(_Row(prior), ("above", "at", "rows", *labels), ("links", "next_rows"), {})
    position = StepFunction(_Position(prior), ("previous", "at", "links", "left"), ("features", "next_left"), {})

    def start(count: int, grid: tuple[int, int]) -> dict[str, Tensor]:
        layers = _layers(prior)
        reach, channels = layers[0].reach, layers[0].out.weight.shape[1]
        zeros = layers[0].out.weight.new_zeros
        return {
            "rows": zeros(count, len(layers), reach, channels, grid[1]),
            "left": zeros(count, len(layers), reach, channels),
        }

    return PriorSteps(position, start, row)


def _layers(prior: PixelCNN) -> list[GatedLayer]:
    return list(prior.layers)  # pyright: ignore[reportReturnType]


class _Row(nn.Module):
    """Every layer's vertical stack at one row, from the rows that its kernel sees."""

    def __init__(self, prior: PixelCNN) -> None:
        super().__init__()
        self.prior = prior

    def forward(
        self, above: Tensor, at: Tensor, rows: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what the horizontal stacks read, [B, L, 2C, w], and the rows kept, [B, L, reach, C, w]."""
        row = (self.prior.embedding(above) * (at[0] > 0)).transpose(1, 2)  # above the first row there is nothing
        links: list[Tensor] = []
        kept: list[Tensor] = []
        for number, layer in enumerate(_layers(self.prior)):
            vertical_bias, horizontal_bias = (0.0, 0.0) if labels is None else layer.biases(labels)
            seen = torch.cat([rows[:, number], row[:, None]], 1)  # [B, reach + 1, C, w]
            kept.append(seen[:, 1:])
            window = seen[:, -layer.vertical.kernel_size[0] :].transpose(1, 2)
            gates = layer.vertical(F.pad(window, (layer.reach, layer.reach)))
            gates = gates + (vertical_bias[:, :, None, None] if isinstance(vertical_bias, Tensor) else 0.0)
            link = layer.link(gates)
            link = link + (horizontal_bias[:, :, None, None] if isinstance(horizontal_bias, Tensor) else 0.0)
            links.append(link[:, :, 0])
            row = gate(gates)[:, :, 0]
        return torch.stack(links, 1), torch.stack(kept, 1)


class _Position(nn.Module):
    """Every layer's horizontal stack at one position, from the positions to its left."""

    def __init__(self, prior: PixelCNN) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, previous: Tensor, at: Tensor, links: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, [B, C], and what is kept of the positions to the left, [B, L, reach, C]."""
        inside = at[1] > 0  # left of the first column there is nothing
        left, h = left * inside, self.prior.embedding(previous) * inside
        link = links.index_select(3, at[1:]).squeeze(3)
        kept: list[Tensor] = []
        for number, layer in enumerate(_layers(self.prior)):
            seen = torch.cat([left[:, number], h[:, None]], 1)  # [B, reach + 1, C]
            kept.append(seen[:, 1:])
            window = seen[:, -layer.horizontal.kernel_size[1] :].transpose(1, 2)[:, :, None]
            gated = gate(layer.horizontal(window) + link[:, number, :, None, None])
            out = layer.out(gated)[:, :, 0, 0]
            h = out if layer.first else h + out
        return h, torch.stack(kept, 1)
