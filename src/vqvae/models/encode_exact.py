"""Exact codes, which depend on the image alone: the encoder in float64 decides near-ties."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from vqvae.quantizers import Quantizer

# The relative error of a float32 encoder differs by less than a factor of 3 between the images of a data set. The
# error is measured on two images of a batch. A position is a near-tie if 16 times the error could change its code.
_SAFETY = 16.0
_MEASURED = 2


class ExactCodes(NamedTuple):
    """Codes, and how they were found.

    Attributes:
        codes: int64 [B, h, w, n].
        near_ties: number of positions that the float32 encoder could not decide.
    """

    codes: Tensor
    near_ties: int


@torch.no_grad()
def encode_exact(encoder: nn.Module, quantizer: Quantizer, images: Tensor) -> ExactCodes:
    """Encode images so that batch size, threads and device cannot change a code.

    The order of the sums in a float32 convolution depends on the batch size, the number of threads and the
    machine. At a near-tie between two codes, the last bit decides. So the error of z_e is measured against float64
    on the first images. The quantizer marks the positions at which an error 16 times as large could change a code.
    Images with such positions are encoded again in float64, one by one. The error of float64 is 10^9 times smaller
    than that of float32, so all codes are those of the float64 encoder.

    The float64 copies of encoder and quantizer are kept as long as the encoder exists. Each call copies the
    current weights into them.

    Args:
        encoder: the encoder, in eval mode, with float32 weights; an encoder of another type gives plain codes.
        quantizer: the quantizer, in eval mode.
        images: float [B, C, H, W].
    """
    device = images.device
    with torch.autocast(device.type, enabled=False), _full_precision(device):
        z_e = encoder(images)
        codes = quantizer.codes(z_e)
        if z_e.dtype != torch.float32 or not len(images):
            return ExactCodes(codes, 0)
        precise = _float64_of(encoder, quantizer, device)
        tolerance = _SAFETY * precise.relative_error(images[:_MEASURED], z_e[:_MEASURED]) * _sizes(z_e)
        ambiguous = quantizer.is_ambiguous(z_e, tolerance.to(z_e.dtype))
        for row in ambiguous.flatten(1).any(1).nonzero().squeeze(1).tolist():
            codes[row] = precise.codes(images[row : row + 1])[0].to(device)
    return ExactCodes(codes, int(ambiguous.sum()))


class _Float64:
    """Copies of an encoder and a quantizer in float64."""

    def __init__(self, encoder: nn.Module, quantizer: Quantizer, device: torch.device) -> None:
        self.modules = [ref(module) for module in _modules(encoder, quantizer)]
        self.shapes = [tensor.shape for tensor in _tensors(encoder, quantizer)]
        self.device = device
        self.encoder = copy.deepcopy(encoder).to(device, torch.float64)
        self.quantizer = copy.deepcopy(quantizer).to(device, torch.float64)

    def is_of(self, encoder: nn.Module, quantizer: nn.Module, device: torch.device) -> bool:
        """Return whether nothing but weights can have changed since the copies were made."""
        modules, tensors = _modules(encoder, quantizer), _tensors(encoder, quantizer)
        return (
            device == self.device
            and len(modules) == len(self.modules)
            and all(kept() is module for kept, module in zip(self.modules, modules, strict=True))
            and [tensor.shape for tensor in tensors] == self.shapes
        )

    def take_weights(self, encoder: nn.Module, quantizer: nn.Module) -> None:
        # versions of tensors do not tell whether weights changed: a write through .data leaves the version as it
        # is
        for own, tensor in zip(_tensors(self.encoder, self.quantizer), _tensors(encoder, quantizer), strict=True):
            own.copy_(tensor)

    def z_e(self, images: Tensor) -> Tensor:
        return self.encoder(images.to(self.device, torch.float64))

    def codes(self, images: Tensor) -> Tensor:
        return self.quantizer.codes(self.z_e(images))

    def relative_error(self, images: Tensor, z_e: Tensor) -> Tensor:
        """Return the largest error of a position's vector relative to the size of z_e: float32, scalar."""
        error = (self.z_e(images) - z_e.to(self.device, torch.float64)).norm(dim=1).flatten(1).amax(1)
        return (error / _sizes(z_e).to(error)).amax().to(z_e.device, torch.float32)


_COPIES: WeakKeyDictionary[nn.Module, _Float64] = WeakKeyDictionary()


def _float64_of(encoder: nn.Module, quantizer: Quantizer, device: torch.device) -> _Float64:
    """Return the float64 copies with the current weights; new copies are made if more than weights has changed."""
    on = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    module = cast(nn.Module, quantizer)
    found = _COPIES.get(encoder)
    with torch.inference_mode(False), torch.no_grad():  # inference tensors could not be updated later
        if found is None or not found.is_of(encoder, module, on):
            found = _COPIES[encoder] = _Float64(encoder, quantizer, on)
        else:
            found.take_weights(encoder, module)
    return found


def _modules(*roots: nn.Module) -> Sequence[nn.Module]:
    return [module for root in roots for module in root.modules()]


def _tensors(*roots: nn.Module) -> Sequence[Tensor]:
    return [tensor for root in roots for tensor in (*root.parameters(), *root.buffers())]


def _sizes(z_e: Tensor) -> Tensor:
    """Return the root mean square length of each image's vectors, float [B], above 0."""
    return z_e.square().sum(1).flatten(1).mean(1).sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _full_precision(device: torch.device) -> Any:
    # TensorFloat-32 convolutions keep 10 bits, which makes a thousand times as many near-ties
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()
