"""A decoder-only transformer over codes, a token a position (arXiv 1706.03762, 2012.09841)."""

from dataclasses import dataclass
from math import ceil
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
from vqvae.priors.transformer_cache import TransformerCache
from vqvae.tensors import CodeSpec

_BASE = 100.0  # the slowest pair turns by 1 / 100 of the fastest: enough for grids of a hundred rows


Rotation = tuple[Tensor, Tensor]


def rotation_of(grid: tuple[int, int], head_dim: int, like: Tensor) -> Rotation:
    """Return the cosines and sines, float [2, 1, 1, h * w, head_dim / 2], that turn queries and keys of a grid.

    Token t asks for position t, but holds the codes of position t - 1: its query turns with the (row, column) of
    the one, its key with that of the other. The start token stands one column left of the first position.

    The angle of pair i of a half is ``coordinate * 100^(-4 i / head_dim)``; the first half turns with the row,
    the second with the column (rotary positions, arXiv 2104.09864, on two axes).
    """
    h, w = grid
    asked = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    held = torch.cat([torch.tensor([[0, -1]]), asked[:-1]])
    pairs = head_dim // 4
    frequencies = _BASE ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    angles = (torch.stack([asked, held])[:, None, None, :, :, None] * frequencies).flatten(-2)
    return angles.cos().to(like), angles.sin().to(like)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of [2, B, heads, T, d].

    The product of a turned query and a turned key depends on the difference of their coordinates alone.
    """
    cosine, sine = rotation
    a, b = x.chunk(2, -1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)


class Block(nn.Module):
    """Attention, then a gated network, each added to what it reads a norm of (arXiv 1910.07467, 2002.05202).

    Args:
        width: channels.
        heads: of attention, ``width / heads`` channels each.
        dropout: of what is added, and of the attention.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        hidden = 8 * ceil(width / 3)  # 8/3: as many weights as an ungated network of 4 times the width
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.network_norm = nn.RMSNorm(width, eps=1e-6)
        self.network = nn.Linear(width, 2 * hidden, bias=False)
        self.network_out = nn.Linear(hidden, width, bias=False)

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Return the turned queries and keys, and the values, [B, heads, T, d], of features [B, T, width]."""
        projected = self.attention(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        projected = projected.permute(2, 0, 3, 1, 4)
        query, key = rotate(projected[:2], rotation).type_as(projected)
        return query, key, projected[2]

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add to features [B, T, width] what attention mixed, [B, heads, T, d], and what the network makes."""
        x = x + self._drop(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        gate, value = self.network(self.network_norm(x)).chunk(2, -1)
        return x + self._drop(self.network_out(F.silu(gate) * value))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Map features [B, T, width] to features, each of those at and before it."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.project(x, rotation)
        return self.finish(x, F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True))


class CodeTransformer(nn.Module):
    """p(codes) = product over positions in raster order, and over the n codes of each, of p(code | those before).

    Token t is the sum of the embeddings of the codes at position t - 1, the start token for t = 0, each with the
    embedding of the class added; its features predict the codes at position t, one after the other.

    Args:
        num_codes: K.
        codes_per_position: n.
        grid: (h, w) of the training codes, the default shape of samples; any other works too.
        num_classes: of labels; 0 for a prior without classes.
        width: channels.
        layers: blocks.
        heads: of attention; ``4 * heads`` divides the width.
        head_width: hidden units of the head.
        dropout: of tokens, attention and what each block adds.

    Raises:
        ValueError: for a width that is not a multiple of ``4 * heads``.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PriorModelConfig):
        """Settings of the class."""

        kind: Literal["transformer"] = "transformer"
        width: Count = 128
        layers: Count = 6
        heads: Count = 4
        head_width: Count = 256
        dropout: Fraction = 0.0

        def __post_init__(self) -> None:
            """Refuse a width that the heads cannot share."""
            if self.width % (4 * self.heads):
                raise ValueError(f"width {self.width} must be a multiple of 4 * heads, {4 * self.heads}")

        def build(self, spec: CodeSpec, *, num_classes: int = 0) -> "CodeTransformer":
            """Make the prior for codes of that spec."""
            return CodeTransformer(
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
        heads: int = Config.heads,
        head_width: int = Config.head_width,
        dropout: float = Config.dropout,
    ) -> None:
        super().__init__()
        if width % (4 * heads):
            raise ValueError(f"width {width}: must be a multiple of 4 * heads, {4 * heads}")
        self.spec = CodeSpec(grid, codes_per_position, num_codes)
        self.num_classes = num_classes
        self.head_dim = width // heads
        self.dropout = dropout
        self.embedding = CodeEmbedding(num_codes, codes_per_position, width)
        self.begin = nn.Parameter(torch.randn(width))
        self.classes = nn.Embedding(num_classes + 1, width) if num_classes else None  # one more: no class
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = CodeHead(num_codes, codes_per_position, width, head_width)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("_out.weight"):  # so that the sum over blocks starts no larger than a token
                parameter.data.div_((2 * layers) ** 0.5)

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered at once in sharded training, inner ones first."""
        return [*self.blocks, self]

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], for codes, int64 [B, h, w, n], and labels, int64 [B].

        The logits at a code depend on the codes before it alone. Label ``num_classes`` means no class, and so
        does ``labels=None``.

        Raises:
            ValueError: for labels of another shape, or any label where the prior knows none.
        """
        count, h, w = codes.shape[:3]
        before = self.embedding(codes).flatten(1, 2)[:, :-1]
        tokens = torch.cat([self.begin.expand(count, 1, -1), before], 1)
        tokens = tokens + self.class_features(labels, count)[:, None]
        x = F.dropout(tokens, self.dropout, self.training)
        rotation = self.rotation((h, w))
        for block in self.blocks:
            x = block(x, rotation)
        return self.head(self.norm(x).unflatten(1, (h, w)), codes)

    def class_features(self, labels: Tensor | None, count: int) -> Tensor:
        """Return what the class adds to every token, [count, width]; zero for a prior without classes.

        Raises:
            ValueError: as ``forward``.
        """
        rows = class_rows(labels, count, self.num_classes, self.begin.device)
        return self.begin.new_zeros(count, len(self.begin)) if self.classes is None else self.classes(rows)

    def rotation(self, grid: tuple[int, int]) -> Rotation:
        """Return how the queries and keys of a grid are turned."""
        return rotation_of(grid, self.head_dim, self.begin.detach())

    def code_nats(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return -log p of each code given those before it and the label, in nats, float [B, h, w, n]."""
        return code_nats(self(codes, labels), codes)

    def log_prob(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return log p(codes | labels) in nats, float [B]."""
        return -self.code_nats(codes, labels).flatten(1).sum(1)

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> PriorCache:
        """Return a fresh cache for ``count`` grids of (h, w) positions."""
        positions = TransformerCache(self, self.class_features(labels, count).detach(), grid)
        return PriorCache(positions, self.embedding, self.head)

    def step(self, cache: PriorCache, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], after noting the one before it, int64 [B]."""
        return cache.step(previous)

    sample = sample_codes  # of this prior: its first argument
