"""The learned prior over codes: a gated PixelCNN without a blind spot (arXiv 1606.05328, section 2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Count, Fraction
from vqvae.priors.base import (
    CodeEmbedding,
    CodeHead,
    PriorCache,
    PriorModelConfig,
    class_rows,
    code_nats,
    sample_codes,
)
from vqvae.priors.pixelcnn_cache import PixelCNNCache
from vqvae.tensors import CodeSpec


def gate(x: Tensor, dim: int = 1) -> Tensor:
    """Return tanh(a) * sigmoid(b) of the two halves of x (arXiv 1606.05328, equation 2)."""
    a, b = x.chunk(2, dim)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks, causal by cropped kernels: no mask, no weight that never acts.

    The vertical stack at row i sees the rows above it, the horizontal stack at (i, j) sees the vertical stack's
    row i and the positions left of j: in the first layer without j itself, in the others with it, where it
    stands for what the layer before saw (arXiv 1606.05328, figure 2).

    Args:
        width: channels of each stack.
        kernel: odd; the vertical kernel's columns. Rows and columns back: (kernel - 1) / 2.
        first: whether this layer sees the codes themselves.
        classes: the rows of the class bias, 0 for none.
        dropout: of the horizontal stack's gated features.
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


class PixelCNN(nn.Module):
    """p(codes) = product over positions in raster order, and over the n codes of each, of p(code | those before).

    Args:
        num_codes: K.
        codes_per_position: n.
        grid: (h, w) of the training codes, the default shape of samples; any other works too.
        num_classes: of labels; 0 for a prior without classes.
        width: channels of each stack.
        layers: gated layers; (kernel - 1) / 2 * layers rows and columns are seen.
        kernel: odd.
        head_width: hidden units of the head.
        dropout: of the gated features.

    Raises:
        ValueError: for an even kernel.
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
            """Make the prior for codes of that spec."""
            return PixelCNN(
                spec.num_codes,
                codes_per_position=spec.codes_per_position,
                grid=spec.grid,
                num_classes=num_classes,
                **self.settings(),
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
        super().__init__()
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"kernel {kernel}: must be odd, 3 or more")
        self.spec = CodeSpec(grid, codes_per_position, num_codes)
        self.num_classes = num_classes
        self.width = width
        self.embedding = CodeEmbedding(num_codes, codes_per_position, width)
        classes = num_classes + 1 if num_classes else 0  # one more: no class
        self.layers = nn.ModuleList(
            GatedLayer(width, kernel, first=layer == 0, classes=classes, dropout=dropout)
            for layer in range(layers)
        )
        self.head = CodeHead(num_codes, codes_per_position, width, head_width)

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered at once in sharded training, inner ones first."""
        return [*self.layers, self]

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], for codes, int64 [B, h, w, n], and labels, int64 [B].

        The logits at a code depend on the codes before it alone. Label ``num_classes`` means no class, and so
        does ``labels=None``.

        Raises:
            ValueError: for labels of another shape, or any label where the prior knows none.
        """
        features = self.embedding(codes).permute(0, 3, 1, 2)
        v = h = features.contiguous(memory_format=torch.channels_last)
        labels = class_rows(labels, len(codes), self.num_classes, codes.device)
        for layer in self.layers:
            v, h = layer(v, h, labels)
        return self.head(h.permute(0, 2, 3, 1), codes)

    def code_nats(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return -log p of each code given those before it and the label, in nats, float [B, h, w, n]."""
        return code_nats(self(codes, labels), codes)

    def log_prob(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return log p(codes | labels) in nats, float [B]."""
        return -self.code_nats(codes, labels).flatten(1).sum(1)

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> PriorCache:
        """Return a fresh cache for ``count`` grids of (h, w) positions."""
        rows = class_rows(labels, count, self.num_classes, self.embedding.weight.device)
        return PriorCache(PixelCNNCache(self, count, grid, rows), self.embedding, self.head)

    def step(self, cache: PriorCache, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], after noting the one before it, int64 [B]."""
        return cache.step(previous)

    sample = sample_codes  # of this prior: its first argument
