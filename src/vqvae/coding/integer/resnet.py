"""The layers of the network ``resnet`` with whole numbers."""

import torch
from torch import Tensor, nn

from vqvae.coding.integer.layers import (
    LAYERS,
    IntegerAffine,
    IntegerNorm,
    check_head,
    integer_attention,
    integer_silu,
)
from vqvae.networks.resnet import EPSILON, Attention, Norm, ResidualBlock, Stack, heads_of, image_of

_MOST_SCORES = 2**23  # of queries and keys, in memory at a time


@LAYERS.of(Norm)
def _norm(norm: Norm) -> IntegerNorm:
    return IntegerNorm(norm.scale, EPSILON, 1)


@LAYERS.of(ResidualBlock)
class IntegerResidualBlock(nn.Module):
    """Twice: norm, SiLU, 3x3 convolution; added to the input.

    Args:
        block: the block in floating point.
    """

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(block.norm1), _norm(block.norm2)
        self.conv1, self.conv2 = IntegerAffine(block.conv1), IntegerAffine(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual."""
        return x + self.conv2(integer_silu(self.norm2(self.conv1(integer_silu(self.norm1(x))))))


@LAYERS.of(Attention)
class IntegerAttention(nn.Module):
    """Norm, attention of each position to all, 1x1 convolution; added to the input.

    Args:
        attention: the attention in floating point.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.norm = attention.heads, _norm(attention.norm)
        self.project, self.out = IntegerAffine(attention.project), IntegerAffine(attention.out)
        check_head(attention.out.in_channels // attention.heads)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the mixed values."""
        query, key, value = heads_of(self.project(self.norm(x)), self.heads)
        at_once = max(1, _MOST_SCORES // key[..., 0].numel())
        mixed = torch.cat([integer_attention(part, key, value) for part in query.split(at_once, 2)], 2)
        return x + self.out(image_of(mixed, x.shape))


@LAYERS.of(Stack)
def _stack(stack: Stack) -> nn.Sequential:
    return nn.Sequential(*map(LAYERS.make, stack))
