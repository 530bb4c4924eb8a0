"""The transformer, run one position at a time: sampling keeps the keys and values of all earlier tokens.

At a batch size of 1, calling operations takes more time than arithmetic. So the cache uses few operations:

- The weights of a norm are folded into the matrix product that follows it; a division by the length remains.
- The scale of the attention is folded into the weights of the queries.
- addmm adds the residual.
- Two channels that are rotated together are one complex number, so one product rotates them.
- Keys and values are kept in a window that grows by several positions at a time. Positions that are still to come
  are masked. So views are made once for a window.
- Every result is written where the next operation reads it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.priors.transformer import Block, CodeTransformer, Rotation, rotation_of

_WINDOW = 16  # positions by which the attention of the steps grows: shorter products would be slow (docs/log.md)


def _normed(norm: nn.RMSNorm, linear: nn.Linear) -> Tensor:
    """Return the weights, [width, outputs], of a norm and the linear map after it, for a token of length 1."""
    return (linear.weight * (norm.weight * norm.normalized_shape[0] ** 0.5)).T


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
    """A block's weights in the form that its steps read.

    ``memory`` has the block's keys and values, [2, B, heads, T, d].
    """

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


class TransformerPositions:
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
