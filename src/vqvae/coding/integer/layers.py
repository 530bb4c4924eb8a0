"""Layers of whole numbers, and networks of these layers.

Activations are whole numbers in units of 1 / ONE, in float64, and are cut to 256. All sums stay below 2^53, where
float64 is exact. Sums of products are exact, so their order does not matter. Quotients are not exact, but IEEE 754
rounds a quotient of two float64 numbers correctly. So ``floor(a / b + 1 / 2)`` of whole numbers is the same on
every machine.
"""

import copy
from collections.abc import Callable
from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.coding.integer.forms import Forms
from vqvae.coding.integer.tables import ONE, SILU_REACH, exp_of_difference, silu
from vqvae.errors import UserError

WEIGHT = 2**13  # a weight of 1
LARGEST = 2.0**20  # of an activation: 256
_SHARE = 2**20  # a weight of attention of 1
EXACT = 2.0**53

LAYERS = Forms[nn.Module]("layer")


def rounded(values: Tensor) -> Tensor:
    """Return activations in units of 1 / ONE, float64, of values in floating point."""
    return (values.detach().double() * ONE).round()


@LAYERS.of(nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
class IntegerAffine(nn.Module):
    """A convolution, a transposed convolution or a linear layer of whole numbers.

    Args:
        layer: the layer in floating point.

    Raises:
        UserError: when sums of the layer could reach 2^53.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().double()
        self.register_buffer("weight", (weight * WEIGHT).round())
        transposed = isinstance(layer, nn.ConvTranspose2d)
        outputs = weight.shape[1 if transposed else 0]
        bias = torch.zeros(outputs) if layer.bias is None else layer.bias.detach()
        self.register_buffer("bias", (bias.double() * (WEIGHT * ONE)).round())
        sums = self.weight.abs().transpose(0, 1) if transposed else self.weight.abs()
        largest = sums.flatten(1).sum(1) * LARGEST + self.bias.abs() + WEIGHT
        if not bool((largest < EXACT).all()):
            raise UserError("the weights of a layer are too large for sums below 2^53")
        self.apply_to = _operation(layer)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the layer's output, rounded to units of 1 / ONE and cut to 256."""
        sums = self.apply_to(activations.clamp(-LARGEST, LARGEST), self.weight, self.bias)
        return (sums / WEIGHT + 0.5).floor().clamp(-LARGEST, LARGEST)


def _operation(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if isinstance(layer, nn.Linear):
        return F.linear
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UserError("a convolution with this padding has no integer form")
    how = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups, "dilation": layer.dilation}
    if isinstance(layer, nn.ConvTranspose2d):
        return partial(F.conv_transpose2d, output_padding=layer.output_padding, **how)
    return partial(F.conv2d, **how)


class IntegerNorm(nn.Module):
    """A norm by the root mean square, with whole numbers: x_c scale_c sqrt(C) / sqrt(sum of squares + epsilon C).

    Args:
        scale: the factor of each channel; of a shape that broadcasts with the activations.
        epsilon: what is added to the mean square.
        dim: the dimension of the channels.

    Raises:
        UserError: when the sum of squares or a product could reach 2^53.
    """

    weight: Tensor
    epsilon: Tensor

    def __init__(self, scale: Tensor, epsilon: float, dim: int) -> None:
        super().__init__()
        self.dim, width = dim, scale.numel()
        self.register_buffer("weight", (scale.detach().double() * (sqrt(width) * WEIGHT)).round())
        added = max(1, round(width * epsilon * ONE**2))
        self.register_buffer("epsilon", torch.tensor(added, dtype=torch.float64))
        # x * weight * unit: the unit is larger than 1 only where all x are below 2^17
        largest = max(width * LARGEST**2 + added, float(self.weight.abs().max()) * LARGEST * 2**7)
        if not largest < EXACT:
            raise UserError("a norm is too wide, or its scale too large, for sums below 2^53")

    def forward(self, activations: Tensor) -> Tensor:
        """Return the activations, normalized, rounded to units of 1 / ONE and cut to 256."""
        x = activations.clamp(-LARGEST, LARGEST)
        root, unit = square_root(x.square().sum(self.dim, keepdim=True) + self.epsilon)
        return (x * self.weight * unit / (root * (WEIGHT // ONE)) + 0.5).floor().clamp(-LARGEST, LARGEST)


_FINE = 2.0**10


def square_root(squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of whole numbers below 2^53, rounded down to whole numbers of a unit.

    The library's square root may be wrong in its last bit. Its whole part is therefore compared with the number.

    Args:
        squares: whole numbers of at least 1, float64.

    Returns:
        The roots in units of 1 / unit, and the unit: 2^10 for numbers below 2^33, and 1 for others.
    """
    unit = torch.where(squares < EXACT / _FINE**2, _FINE, 1.0)
    given = squares * unit * unit
    root = given.sqrt().floor()
    root = root - (root * root > given).double()
    return root + ((root + 1) * (root + 1) <= given).double(), unit


@LAYERS.of(nn.RMSNorm)
def _rms_norm(norm: nn.RMSNorm) -> IntegerNorm:
    if len(norm.normalized_shape) != 1 or norm.eps is None:
        raise UserError("a norm over several dimensions, or without epsilon, has no integer form")
    scale = torch.ones(norm.normalized_shape) if norm.weight is None else norm.weight  # pyright: ignore[reportUnnecessaryComparison]
    return IntegerNorm(scale, norm.eps, -1)


def integer_silu(activations: Tensor) -> Tensor:
    """Return x * sigmoid(x) of activations, by a table; beyond the table it is 0, or x."""
    reach = SILU_REACH * ONE
    return silu()[activations.clamp(-reach, reach).long() + reach] + (activations - reach).clamp(min=0)


@LAYERS.of(nn.SiLU)
class IntegerSiLU(nn.Module):
    """x * sigmoid(x) of whole numbers."""

    def __init__(self, layer: nn.SiLU) -> None:
        super().__init__()

    def forward(self, activations: Tensor) -> Tensor:
        """Return ``integer_silu`` of the activations."""
        return integer_silu(activations)


def check_head(width: int) -> None:
    """Raise UserError if the products of queries and keys of this width could reach 2^53."""
    if not width * LARGEST**2 < EXACT:
        raise UserError("a head of attention is too wide for sums below 2^53")


def integer_attention(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Return the values, [B, heads, T, d], mixed by the attention of queries to keys.

    The weights of a query are rounded to multiples of 1 / _SHARE. So a sum over keys stays below 2^53 however many
    keys there are.

    Args:
        query: [B, heads, T, d].
        key: [B, heads, L, d].
        value: [B, heads, L, d].
        hidden: bool [T, L], the keys that a query does not see.
    """
    sums = query @ key.transpose(-1, -2)
    scores = (sums / torch.full_like(sums[..., :1], ONE * sqrt(query.shape[-1])) + 0.5).floor()
    if hidden is not None:
        scores = scores.masked_fill(hidden, -EXACT)
    masses = exp_of_difference(scores, -1)
    if hidden is not None:
        masses = masses.masked_fill(hidden, 0)
    shares = (masses.double() * _SHARE / masses.sum(-1, keepdim=True).double() + 0.5).floor()
    return (shares @ value / _SHARE + 0.5).floor()


@LAYERS.of(nn.ReLU, nn.Identity, nn.Dropout, nn.PixelShuffle, nn.PixelUnshuffle)
def _unchanged(layer: nn.Module) -> nn.Module:
    """Return a layer that maps whole numbers to whole numbers as it is."""
    return layer


def integer_network(network: nn.Module) -> nn.Module:
    """Return a copy of a network with whole numbers.

    A module without weights of its own whose class has no integer form keeps its ``forward``, and its layers are
    replaced. So such a ``forward`` may add, pad and move whole numbers, and apply ReLUs.

    Raises:
        UserError: for a network with a layer that has no integer form.
    """
    return _converted(copy.deepcopy(network).eval())


def _converted(module: nn.Module) -> nn.Module:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    children = list(module.named_children())
    if module in LAYERS or own or not children:
        return LAYERS.make(module)
    for name, child in children:
        setattr(module, name, _converted(child))
    return module
