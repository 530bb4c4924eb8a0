"""The transformer prior with whole numbers."""

import torch
from torch import Tensor, nn

from vqvae.coding.integer.layers import (
    LARGEST,
    LAYERS,
    IntegerAffine,
    check_head,
    integer_attention,
    integer_silu,
    rounded,
)
from vqvae.coding.integer.prior import PRIORS, IntegerPrior
from vqvae.coding.integer.tables import ONE, TURN, turns
from vqvae.priors import CodeTransformer
from vqvae.priors.transformer import Block

Rotation = tuple[Tensor, Tensor]
_MOST_SCORES = 2**23  # of queries and keys, in memory at a time


@PRIORS.of(CodeTransformer)
class IntegerTransformer(IntegerPrior):
    """A transformer without a class, with whole numbers.

    Args:
        prior: the prior in floating point, on the CPU.

    Raises:
        UserError: when a sum could reach 2^53.
    """

    begin: Tensor
    no_class: Tensor

    @torch.no_grad()
    def __init__(self, prior: CodeTransformer) -> None:
        super().__init__(prior)
        self.head_dim = prior.head_dim
        self.register_buffer("begin", rounded(prior.begin))
        self.register_buffer("no_class", rounded(prior.class_features(torch.tensor([prior.num_classes]))[0]))
        blocks = [_Block(block) for block in prior.blocks if isinstance(block, Block)]
        self.blocks: list[_Block] = nn.ModuleList(blocks)  # pyright: ignore[reportAttributeAccessIssue]
        self.norm = LAYERS.make(prior.norm)

    def features(self, embedded: Tensor) -> Tensor:
        """Return the features of each position, as ``IntegerPrior.features``."""
        count, h, w = embedded.shape[:3]
        x = torch.cat([self.begin.expand(count, 1, -1), embedded.flatten(1, 2)[:, :-1]], 1) + self.no_class
        rotation = rotation_of((h, w), self.head_dim)
        hidden = torch.ones(h * w, h * w, dtype=torch.bool).triu(1)
        for block in self.blocks:
            query, key, value = block.project(x, rotation)
            x = block.finish(x, integer_attention(query, key, value, hidden))
        return self.norm(x).unflatten(1, (h, w))

    def at_once(self, grid: tuple[int, int]) -> int:
        """Return how many grids ``features`` should take at once, as ``IntegerPrior.at_once``."""
        return _MOST_SCORES // (self.blocks[0].heads * (grid[0] * grid[1]) ** 2)

    def positions(self, count: int, grid: tuple[int, int]) -> "_Positions":
        """Return the network before its first position, as ``IntegerPrior.positions``."""
        return _Positions(self, count, grid)


def rotation_of(grid: tuple[int, int], head_dim: int) -> Rotation:
    """Return the cosines and sines of ``vqvae.priors.transformer.rotation_of`` in units of 1 / TURN, float64."""
    h, w = grid
    asked = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    held = torch.cat([torch.tensor([[0, -1]]), asked[:-1]])
    cosine, sine = turns(head_dim // 4, max(h, w))
    coordinates = torch.stack([asked, held])[:, None, None] + 1  # the tables begin at coordinate -1
    return cosine[coordinates].flatten(-2), sine[coordinates].flatten(-2)


class _Block(nn.Module):
    """Attention, then a gated network, with whole numbers."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.heads = block.heads
        self.attention_norm, self.network_norm = map(LAYERS.make, (block.attention_norm, block.network_norm))
        self.attention, self.attention_out = IntegerAffine(block.attention), IntegerAffine(block.attention_out)
        self.network, self.network_out = IntegerAffine(block.network), IntegerAffine(block.network_out)
        check_head(len(block.attention_out.weight) // block.heads)

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Return the turned queries and keys, and the values, [B, heads, T, d], of features [B, T, width]."""
        projected = self.attention(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        projected = projected.permute(2, 0, 3, 1, 4)
        cosine, sine = rotation
        a, b = projected[:2].chunk(2, -1)
        turned = torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)
        query, key = (turned / TURN + 0.5).floor().clamp(-LARGEST, LARGEST)
        return query, key, projected[2]

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add the mixed values, [B, heads, T, d], and then the network's output, to features [B, T, width]."""
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        gate, value = self.network(self.network_norm(x)).chunk(2, -1)
        return x + self.network_out((integer_silu(gate) * value / ONE + 0.5).floor())


class _Positions:
    """The network, one position after another, with the keys and values of earlier positions."""

    def __init__(self, prior: IntegerTransformer, count: int, grid: tuple[int, int]) -> None:
        self.prior, self.count = prior, count
        self.rotation = rotation_of(grid, prior.head_dim)
        length = grid[0] * grid[1]
        shape = len(prior.blocks), count, prior.blocks[0].heads, length, prior.head_dim
        self.keys, self.values = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        self.position = 0

    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], given the embedding of the one before it."""
        now, self.position = self.position, self.position + 1
        token = self.prior.begin.expand(self.count, -1) if embedded is None else embedded
        x = (token + self.prior.no_class)[:, None]
        cosine, sine = (turn[..., now : now + 1, :] for turn in self.rotation)
        for number, block in enumerate(self.prior.blocks):
            keys, values = self.keys[number], self.values[number]
            query, keys[:, :, now : now + 1], values[:, :, now : now + 1] = block.project(x, (cosine, sine))
            x = block.finish(x, integer_attention(query, keys[:, :, : now + 1], values[:, :, : now + 1]))
        return self.prior.norm(x)[:, 0]
