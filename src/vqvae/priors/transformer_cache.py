"""A transformer one position at a time: the keys and values of every earlier token are kept.

At a batch of one the time goes into calling operations, not into arithmetic, so each does as much as it can:

- A norm's weights are folded into the product that follows it; what is left of it is one number a token.
- Turning a query is ``q * cos + (-q_2, q_1) * sin``, q_1 and q_2 its halves: the swapped ones come out of the same
  product, and the scale of the attention is in its weights.
- addmm carries the residual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from vqvae.priors.transformer import Block, CodeTransformer, Rotation


def _normed(norm: nn.RMSNorm, linear: nn.Linear) -> Tensor:
    """Return the weights, [width, outputs], of a linear map and the norm before it, for what _unit returns."""
    return (linear.weight * norm.weight).T * norm.normalized_shape[0] ** 0.5


def _unit(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Return tokens, [B, width], over their length; the norm's epsilon is of the mean, not of the sum."""
    assert norm.eps is not None
    return x * torch.linalg.vecdot(x, x)[:, None].add_(norm.eps * x.shape[1]).rsqrt_()


def _swapped(weights: Tensor, heads: int) -> Tensor:
    """Return the weights, [width, width], that make (-q_2, q_1) of a head where the given ones make (q_1, q_2)."""
    first, second = weights.unflatten(1, (heads, 2, -1)).unbind(2)
    return torch.stack([-second, first], 2).flatten(1)


def _columns(turn: Tensor, heads: int) -> Tensor:
    """Return cosines or sines, [2, 1, 1, T, d / 2], as factors of queries beside keys, [T, 2 * width]."""
    of_a_head = turn[:, 0, 0].repeat(1, 1, 2)  # both halves of a head turn alike
    return of_a_head.repeat(1, 1, heads).transpose(0, 1).flatten(1)


class _BlockCache:
    """A block's weights as its steps read them, and its keys and values, [count * heads, T, d]."""

    def __init__(self, block: Block, count: int, length: int) -> None:
        self.block, self.heads = block, block.heads
        query, key, value = _normed(block.attention_norm, block.attention).chunk(3, 1)
        self.width = len(query)
        query = query * (self.width // self.heads) ** -0.5
        swapped = [_swapped(weights, self.heads) for weights in (query, key)]
        self.attention = torch.cat([query, key, *swapped, value], 1)
        self.network = _normed(block.network_norm, block.network)
        self.attention_out, self.network_out = block.attention_out.weight.T, block.network_out.weight.T
        shape = count * self.heads, length, self.width // self.heads
        self.keys, self.values = query.new_empty(shape), query.new_empty(shape)

    def run(self, x: Tensor, now: int, cosine: Tensor, sine: Tensor) -> Tensor:
        """Map the token at a position, [B, width], to features."""
        width, head = self.width, (-1, 1, self.keys.shape[2])
        projected = _unit(x, self.block.attention_norm) @ self.attention
        turned = torch.addcmul(projected[:, : 2 * width] * cosine, projected[:, 2 * width : 4 * width], sine)
        self.keys[:, now : now + 1] = turned[:, width:].reshape(head)
        self.values[:, now : now + 1] = projected[:, 4 * width :].reshape(head)
        scores = turned[:, :width].reshape(head) @ self.keys[:, : now + 1].transpose(1, 2)
        mixed = scores.softmax(-1) @ self.values[:, : now + 1]
        x = torch.addmm(x, mixed.view(len(x), width), self.attention_out)
        gate, value = (_unit(x, self.block.network_norm) @ self.network).chunk(2, 1)
        return torch.addmm(x, F.silu(gate).mul_(value), self.network_out)


class TransformerCache:
    """The keys and values of the tokens so far, in memory taken once.

    Made for one number of grids of one shape; holds copies of the weights as they are now.
    """

    @torch.no_grad()
    def __init__(self, model: CodeTransformer, class_features: Tensor, grid: tuple[int, int]) -> None:
        self.model, self.class_features = model, class_features
        blocks: list[Block] = list(model.blocks)  # pyright: ignore[reportAssignmentType]
        self.blocks = [_BlockCache(block, len(class_features), grid[0] * grid[1]) for block in blocks]
        rotation: Rotation = model.rotation(grid)
        cosine, sine = (_columns(turn, blocks[0].heads) for turn in rotation)
        self.rotations = list(zip(cosine, sine, strict=True))
        self.position = 0

    @torch.no_grad()
    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], after noting the embedding of the one before."""
        x = (self.model.begin if embedded is None else embedded) + self.class_features
        for block in self.blocks:
            x = block.run(x, self.position, *self.rotations[self.position])
        self.position += 1
        return self.model.norm(x)
