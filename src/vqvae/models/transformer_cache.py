"""A transformer one position at a time: the keys and values of every earlier token are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from vqvae.models.transformer import Block, CodeTransformer


class TransformerCache:
    """The keys and values, [layers][count, heads, h * w, d], of the tokens so far, in memory taken once.

    Made for one number of grids of one shape.
    """

    def __init__(self, model: CodeTransformer, class_features: Tensor, grid: tuple[int, int]) -> None:
        self.model, self.class_features = model, class_features
        self.blocks: list[Block] = list(model.blocks)  # pyright: ignore[reportAttributeAccessIssue]
        self.rotations = list(zip(*(turn.split(1, -2) for turn in model.rotation(grid)), strict=True))
        shape = len(class_features), self.blocks[0].heads, grid[0] * grid[1], model.head_dim
        self.keys, self.values = (
            [class_features.new_empty(shape) for _ in self.blocks] for _ in ("keys", "values")
        )
        self.position = 0

    @torch.no_grad()
    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], after noting the embedding of the one before."""
        token = self.model.begin if embedded is None else embedded
        x = (token + self.class_features)[:, None]
        now, rotation = self.position, self.rotations[self.position]
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            query, keys[:, :, now : now + 1], values[:, :, now : now + 1] = block.project(x, rotation)
            seen = keys[:, :, : now + 1], values[:, :, : now + 1]
            x = block.finish(x, F.scaled_dot_product_attention(query, *seen))
        self.position += 1
        return self.model.norm(x)[:, 0]
