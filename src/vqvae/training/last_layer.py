"""The gradient of a term at the weights of the decoder's last layer, for adaptive weights."""

import copy

import torch
from torch import Tensor, nn

from vqvae.errors import UserError

_LINEAR = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_REARRANGING = (nn.PixelShuffle, nn.Identity)  # only moves values


class LastLayer:
    """The layer that makes the decoder's output, and the input that it had in the last forward pass.

    The layer is linear in its weights, so the gradient at the weights is a function of the layer's input and of
    the gradient at its output. A copy of the layer computes it. The result is the same if the decoder is compiled
    or its weights are sharded over ranks, and it costs one layer instead of a backward pass of the decoder.

    Args:
        decoder: in training mode, before it is compiled or sharded.
        example: z_q, float [B, D, h, w], to find the layer with.

    Raises:
        UserError: when the decoder does not end with a convolution or a linear layer, or with such a layer and a
            pixel shuffle.
    """

    def __init__(self, decoder: nn.Module, example: Tensor) -> None:
        layer, *after = _last_layers(decoder, example)
        self.copy = copy.deepcopy(nn.Sequential(layer, *after))
        seen: dict[str, Tensor] = {}  # a function's own, so that a copy of the decoder for sharding fills it too

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if module.training:
                seen["input"] = inputs[0].detach()

        self.seen = seen
        layer.register_forward_hook(keep)

    def weight_gradient(self, at_output: Tensor) -> Tensor:
        """Return the gradient at the layer's weights from the gradient at the decoder's output."""
        weight = self.copy[0].weight
        assert isinstance(weight, Tensor)
        with torch.enable_grad():
            output = self.copy(self.seen["input"].to(weight.dtype))
        return torch.autograd.grad(output, weight, at_output.to(weight.dtype))[0]


def _last_layers(decoder: nn.Module, example: Tensor) -> list[nn.Module]:
    """Return the last layer with weights, and what rearranges its output into the decoder's."""
    called: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        called.append((module, inputs[0], output))

    watched = [module for module in decoder.modules() if isinstance(module, (*_LINEAR, *_REARRANGING))]
    hooks = [module.register_forward_hook(note) for module in watched]
    with torch.no_grad():
        wanted = decoder(example)
    for hook in hooks:
        hook.remove()
    found: list[nn.Module] = []
    for module, given, made in reversed(called):
        if made is not wanted:
            break
        found.insert(0, module)
        if isinstance(module, _LINEAR):
            return found
        wanted = given
    raise UserError(
        "losses: an adaptive weight needs a decoder that ends with a convolution or a linear layer: set the "
        "loss's adaptive to false"
    )
