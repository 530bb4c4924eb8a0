"""A decoder-only transformer, a prior over codes with one token per position (arXiv 1706.03762, 2012.09841).

Sampling keeps the keys and values of all earlier tokens. At a batch size of 1, calling operations takes more time
than arithmetic. So the cache uses few operations:

- The weights of a norm are folded into the matrix product that follows it; a division by the length remains.
- The scale of the attention is folded into the weights of the queries.
- addmm adds the residual.
- Two channels that are rotated together are one complex number, so one product rotates them.
- Keys and values are kept in a window that grows by several positions at a time. Those that are not there yet are
  masked. So views are made once for a window, and every result is written where the next operation reads it.
"""

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
        return PriorCache(_TransformerPositions(self, grid, labels), self.embedding, self.head)

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


_WINDOW = 16  # positions by which the attention of the steps grows: shorter products would be slow (docs/log.md)


def _normed(norm: nn.RMSNorm, linear: nn.Linear) -> Tensor:
    """Return the weights, [width, outputs], of a norm and the linear map after it, for a token of length 1."""
    return (linear.weight * norm.weight).T * norm.normalized_shape[0] ** 0.5


def _paired(weights: Tensor, heads: int) -> Tensor:
    """Order the columns of [width, heads * d] so that the two outputs that are rotated together are neighbours."""
    return weights.unflatten(1, (heads, 2, -1)).transpose(2, 3).flatten(1)


def _turns(rotation: Rotation) -> list[tuple[Tensor, Tensor]]:
    """Return the complex factors of each token: of its query, [d / 2], and of its key and value, [2, 1, 1, d / 2].

    A pair as a complex number is rotated by a product (arXiv 2104.09864, equation 12). The value's factor is 1.
    """
    query, key = torch.complex(*rotation)[:, 0, 0]
    key_and_value = torch.stack([key, torch.ones_like(key)], 1)
    return list(zip(query, key_and_value[:, :, None, None], strict=True))


class _Token:
    """The token of the present position in each of B grids, [B, width], and what each step writes.

    A norm divides a token by its length. The column beside ``x`` has the square root of the norm's epsilon, which
    is added to the mean square, so that the length contains it.
    """

    def __init__(self, like: Tensor, block: Block, count: int) -> None:
        width, heads = block.attention.weight.shape[1], block.heads
        dim = width // heads
        assert block.attention_norm.eps is not None
        self.with_epsilon = like.new_full((count, width + 1), (block.attention_norm.eps * width) ** 0.5)
        self.x = self.with_epsilon[:, :width]
        self.unit = like.new_empty(count, width)
        self.projected = like.new_empty(count, 3 * width)
        thirds = torch.view_as_complex(self.projected.view(count, 3, heads, dim // 2, 2))
        self.query, self.key_and_value = thirds[:, 0], thirds[:, 1:].transpose(0, 1)
        turned = like.new_empty(count, heads, dim)
        self.turned = torch.view_as_complex(turned.unflatten(2, (-1, 2)))  # the query, rotated
        self.turned_heads = turned.view(count * heads, 1, dim)
        self.mixed = like.new_empty(count, width)
        self.mixed_heads = self.mixed.view(count * heads, 1, dim)
        self.hidden = like.new_empty(count, block.network.weight.shape[0])
        self.gate, self.value = self.hidden.chunk(2, 1)

    def normalise(self) -> None:
        """Write the token, divided by its length, to ``unit``."""
        torch.div(self.x, torch.linalg.vector_norm(self.with_epsilon, dim=1, keepdim=True), out=self.unit)


class _BlockCache:
    """A block's weights in the form that its steps read, and its keys and values."""

    def __init__(self, like: Tensor, block: Block, count: int) -> None:
        query, key, value = _normed(block.attention_norm, block.attention).chunk(3, 1)
        query = query * (len(query) // block.heads) ** -0.5
        self.attention = torch.cat([_paired(query, block.heads), _paired(key, block.heads), value], 1).to(like)
        self.network = _normed(block.network_norm, block.network).to(like)
        self.attention_out = block.attention_out.weight.T.to(like)
        self.network_out = block.network_out.weight.T.to(like)
        self.memory = like.new_empty(2, count, block.heads, 0, len(query) // block.heads)

    def widen(self, length: int) -> None:
        """Make room for ``length`` tokens. Keys and values of a window lie side by side, which is fast to read."""
        known, (two, count, heads, _, dim) = self.memory, self.memory.shape
        self.memory = known.new_zeros(two, count, heads, length, dim)
        self.memory[:, :, :, : known.shape[3]] = known
        self.places = torch.view_as_complex(self.memory.unflatten(4, (-1, 2))).unbind(3)
        keys, self.values = self.memory.flatten(1, 2)
        self.keys = keys.transpose(1, 2)

    def run(self, token: _Token, now: int, turns: tuple[Tensor, Tensor], mask: Tensor) -> None:
        """Replace the token at a position by its features; the mask has -inf at the later positions."""
        token.normalise()
        torch.mm(token.unit, self.attention, out=token.projected)
        torch.mul(token.query, turns[0], out=token.turned)
        torch.mul(token.key_and_value, turns[1], out=self.places[now])
        scores = torch.bmm(token.turned_heads, self.keys).add_(mask)
        torch.bmm(scores.softmax(2), self.values, out=token.mixed_heads)
        token.x.addmm_(token.mixed, self.attention_out)
        token.normalise()
        torch.mm(token.unit, self.network, out=token.hidden)
        token.x.addmm_(F.silu(token.gate).mul_(token.value), self.network_out)


class _TransformerPositions:
    """The keys and values of the tokens so far.

    It is made for one number of grids of one shape, and holds copies of the weights. Complex numbers need
    float32 or float64, so it computes in float32 if the prior is in a shorter type.
    """

    @torch.no_grad()
    def __init__(self, model: CodeTransformer, grid: tuple[int, int], labels: Tensor) -> None:
        self.model, self.class_features = model, model.class_features(labels)
        blocks: list[Block] = list(model.blocks)  # pyright: ignore[reportAssignmentType]
        like = self.class_features if model.begin.dtype == torch.float64 else self.class_features.float()
        self.blocks = [_BlockCache(like, block, len(labels)) for block in blocks]
        self.turns = _turns(rotation_of(grid, model.head_dim, like))
        self.token = _Token(like, blocks[0], len(labels))
        self.norm = model.norm.weight * len(model.begin) ** 0.5
        self.position = 0
        self.masks: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], given the embedding of the one before it."""
        token = self.token
        inside = self.position % _WINDOW
        if inside == 0:
            self._widen(self.position + _WINDOW)
        torch.add(self.model.begin if embedded is None else embedded, self.class_features, out=token.x)
        turns, mask = self.turns[self.position], self.masks[inside]
        for block in self.blocks:
            block.run(token, self.position, turns, mask)
        self.position += 1
        token.normalise()
        return token.unit.type_as(self.norm) * self.norm

    def _widen(self, length: int) -> None:
        """Attend to the first ``length`` positions; each of the last ones masks those after it."""
        masks = torch.full((_WINDOW, length), -torch.inf).triu(length - _WINDOW + 1)
        self.masks = masks[:, None, None].to(self.token.x).unbind()
        for block in self.blocks:
            block.widen(length)
