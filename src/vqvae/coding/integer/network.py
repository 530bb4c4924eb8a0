"""Networks of whole numbers: every convolution and linear layer of a network, with rounded weights."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.coding.integer.likelihood import IntegerLogistics
from vqvae.coding.integer.tables import ONE
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.quantizers import FSQ, EMAQuantizer, Quantizer, ResidualQuantizer, VectorQuantizer

_WEIGHT = 2**13  # a weight of 1
LARGEST = 2.0**20  # of an activation: 256
_EXACT = 2.0**53


class IntegerAffine(nn.Module):
    """A convolution, a transposed convolution or a linear layer of whole numbers.

    Activations that go in and out are whole numbers in units of 1 / ONE, in float64.

    Args:
        layer: the layer in floating point; ``nn.Conv2d``, ``nn.ConvTranspose2d`` or ``nn.Linear``.

    Raises:
        UserError: when sums of the layer could reach 2^53.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().double()
        self.register_buffer("weight", (weight * _WEIGHT).round())
        transposed = isinstance(layer, nn.ConvTranspose2d)
        outputs = weight.shape[1 if transposed else 0]
        bias = torch.zeros(outputs) if layer.bias is None else layer.bias.detach()
        self.register_buffer("bias", (bias.double() * (_WEIGHT * ONE)).round())
        sums = self.weight.abs().transpose(0, 1) if transposed else self.weight.abs()
        largest = sums.flatten(1).sum(1) * LARGEST + self.bias.abs() + _WEIGHT
        if not bool((largest < _EXACT).all()):
            raise UserError("--exact: the weights of a layer are too large for sums below 2^53")
        self.apply_to = _operation(layer)

    def forward(self, activations: Tensor) -> Tensor:
        """Return the layer's output, rounded to units of 1 / ONE and cut to 256."""
        sums = self.apply_to(activations.clamp(-LARGEST, LARGEST), self.weight, self.bias)
        return (sums / _WEIGHT + 0.5).floor().clamp(-LARGEST, LARGEST)


def _operation(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if isinstance(layer, nn.Linear):
        return F.linear
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UserError("--exact: a convolution with this padding has no integer form")
    how = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups, "dilation": layer.dilation}
    if isinstance(layer, nn.ConvTranspose2d):
        return partial(F.conv_transpose2d, output_padding=layer.output_padding, **how)
    return partial(F.conv2d, **how)


def integer_network(network: nn.Module) -> nn.Module:
    """Return a copy of a network of convolutions, linear layers, ReLUs and sums, with whole numbers.

    Raises:
        UserError: for a network with other layers.
    """
    return _converted(copy.deepcopy(network).eval())


def _converted(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return IntegerAffine(module)
    children = list(module.named_children())
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if own or not (children or isinstance(module, nn.ReLU | nn.Identity | nn.Dropout)):
        raise UserError(f"--exact: a layer of kind {type(module).__name__} has no integer form")
    for name, child in children:
        setattr(module, name, _converted(child))
    return module


class IntegerPixels:
    """The decoder and the likelihood of a tokenizer, with whole numbers.

    Args:
        tokenizer: the tokenizer, on the CPU.

    Raises:
        UserError: for a quantizer, a network or a likelihood without an integer form.
    """

    def __init__(self, tokenizer: VQVAE) -> None:
        if not _is_a_lookup(tokenizer.quantizer):
            raise UserError(f"--exact: the quantizer {type(tokenizer.quantizer).__name__} has no integer form")
        self.quantizer = tokenizer.quantizer
        self.decoder = integer_network(tokenizer.decoder)
        self.likelihood = IntegerLogistics(tokenizer.likelihood)

    @torch.no_grad()
    def parameters(self, codes: Tensor) -> Tensor:
        """Return the parameters of the likelihood, float64 [B, out_channels, H, W], in units of 1 / ONE.

        Raises:
            UserError: when the decoder does not give whole numbers, so that it does more than its layers say.
        """
        z_q = (self.quantizer.embed(codes).double() * ONE).round()
        found: Tensor = self.decoder(z_q.contiguous())
        if not torch.equal(found, found.round()):
            raise UserError("--exact: the decoder has no integer form")
        return found


def _is_a_lookup(quantizer: Quantizer) -> bool:
    """Say whether codes become vectors by look-ups and sums alone, which are exact on every machine."""
    if isinstance(quantizer, ResidualQuantizer):
        return all(_is_a_lookup(layer) for layer in quantizer.layers)
    return type(quantizer) in (VectorQuantizer, EMAQuantizer, FSQ)
