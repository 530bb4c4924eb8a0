"""The layers of the network ``resnet`` with whole numbers."""

from torch import Tensor, nn

from vqvae.coding.integer.layers import LAYERS, IntegerAffine, IntegerNorm, integer_silu
from vqvae.networks.resnet import EPSILON, Norm, ResidualBlock, Stack


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


@LAYERS.of(Stack)
def _stack(stack: Stack) -> nn.Sequential:
    return nn.Sequential(*map(LAYERS.make, stack))
