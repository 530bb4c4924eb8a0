"""A decoder-only transformer, a prior over codes with one token per position (arXiv 1706.03762, 2012.09841)."""

from dataclasses import dataclass
from math import ceil
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

_BASE = 100.0  # the slowest pair turns by 1 / 100 of the fastest: enough for grids of a hundred rows
Rotation = tuple[Tensor, Tensor]


def rotation_of(grid: tuple[int, int], head_dim: int, like: Tensor) -> Rotation:
    """Return the cosines and sines, float [2, 1, 1, h * w, head_dim / 2], that rotate queries and keys of a grid.

    Token t predicts position t and holds the codes of position t - 1. So its query is rotated by the row and
    column of position t, and its key by those of position t - 1. The start token is one column left of position 0.

    The angle of pair i of a half is ``coordinate * 100^(-4 i / head_dim)``. The first half is rotated by the row,
    the second by the column (rotary position embedding, arXiv 2104.09864, on two axes).
    """
    h, w = grid
    asked = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    held = torch.cat([torch.tensor([[0, -1]]), asked[:-1]])
    angles = (torch.stack([asked, held])[:, None, None, :, :, None] * frequencies_of(head_dim)).flatten(-2)
    return angles.cos().to(like), angles.sin().to(like)


def frequencies_of(head_dim: int) -> Tensor:
    """Return the angle of each pair of a half at coordinate 1, float64 [head_dim / 4]."""
    pairs = head_dim // 4
    return _BASE ** -(torch.arange(pairs, dtype=torch.float64) / pairs)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the pairs (x_i, x_{i + d/2}) of [2, B, heads, T, d].

    The product of a rotated query and a rotated key depends on the difference of their coordinates alone.
    """
    cosine, sine = rotation
    a, b = x.chunk(2, -1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)


class Block(nn.Module):
    """Attention, then a gated network, each behind a norm and with a residual (arXiv 1910.07467, 2002.05202).

    Args:
        width: number of channels.
        heads: number of attention heads, with ``width / heads`` channels each.
        dropout: share of the attention weights and of both residuals that training sets to 0.
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
        """Add the mixed values, [B, heads, T, d], and then the network's output, to features [B, T, width]."""
        x = x + self._drop(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        gate, value = self.network(self.network_norm(x)).chunk(2, -1)
        return x + self._drop(self.network_out(F.silu(gate) * value))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Map features [B, T, width] to features; a token sees itself and earlier tokens."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.project(x, rotation)
        return self.finish(x, F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True))


class CodeTransformer(Prior):
    """A transformer: attention to earlier positions gives p(code | the codes before it, class).

    Token t is the sum of the embeddings of the codes at position t - 1; token 0 is a learned start token. The
    embedding of the class is added to every token. The features of token t predict the codes at position t.

    Args:
        num_codes: number of codes K in the codebook.
        codes_per_position: number of codes n at each position.
        grid: height and width (h, w) of the training codes, the default shape of samples; any other grid works.
        num_classes: number of classes; 0 for a prior without classes.
        width: number of channels, a multiple of ``4 * heads``.
        layers: number of blocks, each attention and a gated network.
        heads: number of attention heads.
        head_width: number of hidden units of the head that predicts a code.
        dropout: share of the tokens, attention weights and residuals that training sets to 0.

    Raises:
        ValueError: for an argument that the ``Config`` would refuse, such as a width that is not a multiple of
            ``4 * heads``.
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
            _check_width(self.width, self.heads)

        def build(self, spec: CodeSpec, *, num_classes: int = 0) -> "CodeTransformer":
            """Make the prior."""
            return CodeTransformer(**self.arguments(spec, num_classes))

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
        self.Config.check(width=width, layers=layers, heads=heads, head_width=head_width, dropout=dropout)
        _check_width(width, heads)
        spec = CodeSpec(grid, codes_per_position, num_codes)
        super().__init__(spec, num_classes=num_classes)
        self.head_dim = width // heads
        self.dropout = dropout
        self.embedding = CodeEmbedding(spec, width)
        self.begin = nn.Parameter(torch.randn(width))
        self.classes = nn.Embedding(num_classes + 1, width) if num_classes else None  # one more: no class
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.head = CodeHead(spec, width, head_width)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("_out.weight"):  # so that the sum over blocks starts no larger than a token
                parameter.data.div_((2 * layers) ** 0.5)

    def features(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return features, float [B, h, w, width], of codes [B, h, w, n] and labels [B]."""
        count, h, w = codes.shape[:3]
        before = self.embedding(codes).flatten(1, 2)[:, :-1]
        tokens = torch.cat([self.begin.expand(count, 1, -1), before], 1)
        tokens = tokens + self.class_features(labels)[:, None]
        x = F.dropout(tokens, self.dropout, self.training)
        rotation = self.rotation((h, w))
        for block in self.blocks:
            x = block(x, rotation)
        return self.norm(x).unflatten(1, (h, w))

    def class_features(self, labels: Tensor) -> Tensor:
        """Return the embedding of each class, [B, width]; zeros for a prior without classes."""
        return (
            self.begin.new_zeros(labels.shape[0], len(self.begin))
            if self.classes is None
            else self.classes(labels)
        )

    def rotation(self, grid: tuple[int, int]) -> Rotation:
        """Return how the queries and keys of a grid are turned."""
        return rotation_of(grid, self.head_dim, self.begin.detach())

    def cache(self, count: int, grid: tuple[int, int], labels: Tensor) -> PriorCache:
        """Return a cache that keeps the keys and values of all earlier tokens."""
        from vqvae.priors.transformer_cache import TransformerPositions  # it imports this module

        return PriorCache(TransformerPositions(self, grid, labels), self.embedding, self.head)

    def steps(self) -> PriorSteps:
        """Return the step with the keys and values of earlier tokens as arguments."""
        from vqvae.priors.transformer_steps import transformer_steps  # it imports this module

        return transformer_steps(self)

    def sharding_units(self) -> list[nn.Module]:
        """Return the blocks, and the prior around them."""
        return [*self.blocks, self]


def _check_width(width: int, heads: int) -> None:
    if heads > 0 and width % (4 * heads):
        raise ValueError(f"width {width} must be a multiple of 4 * heads, {4 * heads}")
