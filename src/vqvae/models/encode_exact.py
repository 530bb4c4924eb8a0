"""Codes that depend on the image alone: near-ties are settled by the encoder in float64."""

import copy
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from vqvae.quantizers import Quantizer

# The error of a float32 encoder, over the size of its output, is within a factor of 3 for all images of a data
# set; it is observed on two of a batch, and what lies within so many times it is settled.
_SAFETY = 16.0
_OBSERVED = 2


class ExactCodes(NamedTuple):
    """Codes, and how they were found.

    Attributes:
        codes: int64 [B, h, w, n].
        near_ties: positions whose code the float32 encoder could not be trusted with.
    """

    codes: Tensor
    near_ties: int


@torch.no_grad()
def encode_exact(encoder: nn.Module, quantizer: Quantizer, images: Tensor) -> ExactCodes:
    """Encode images so that batch size, threads and device cannot change a code.

    A float32 convolution sums in an order that depends on the shape of its batch, the number of threads and the
    machine, and at a near-tie between two codes the last bit decides. So the error of z_e is observed against
    float64 on the first images, the quantizer says at which positions an error of 16 times that could change a
    code, and the images that have such positions are encoded again, one by one, in float64. Its own error is 10^9
    times smaller than a float32 step, so all codes are those of the float64 encoder.

    Args:
        encoder: in eval mode; of float32 weights, for others there is nothing to settle by.
        quantizer: in eval mode.
        images: float [B, C, H, W].
    """
    device = images.device
    with torch.autocast(device.type, enabled=False), _full_precision(device):
        z_e = encoder(images)
        codes = quantizer(z_e).codes
        if z_e.dtype != torch.float32 or not len(images):
            return ExactCodes(codes, 0)
        judge = _Judge(encoder, quantizer, device)
        tolerance = _SAFETY * judge.relative_error(images[:_OBSERVED], z_e[:_OBSERVED]) * _sizes(z_e)
        unsure = quantizer.is_ambiguous(z_e, tolerance.to(z_e.dtype))
        for row in unsure.flatten(1).any(1).nonzero().squeeze(1).tolist():
            codes[row] = judge.codes(images[row : row + 1])[0].to(device)
    return ExactCodes(codes, int(unsure.sum()))


class _Judge:
    """The networks in float64."""

    def __init__(self, encoder: nn.Module, quantizer: Quantizer, device: torch.device) -> None:
        self.device = torch.device("cpu") if device.type == "mps" else device  # no float64 there
        self.encoder = copy.deepcopy(encoder).to(self.device, torch.float64)
        self.quantizer = copy.deepcopy(cast(nn.Module, quantizer)).to(self.device, torch.float64)

    def z_e(self, images: Tensor) -> Tensor:
        return self.encoder(images.to(self.device, torch.float64))

    def codes(self, images: Tensor) -> Tensor:
        return self.quantizer(self.z_e(images)).codes

    def relative_error(self, images: Tensor, z_e: Tensor) -> Tensor:
        """Return the largest error of a position's vector over the size of its image's: float64, scalar."""
        error = (self.z_e(images) - z_e.to(self.device, torch.float64)).norm(dim=1).flatten(1).amax(1)
        return (error / _sizes(z_e).to(error)).amax().to(z_e.device, torch.float32)


def _sizes(z_e: Tensor) -> Tensor:
    """Return the root mean square length of each image's vectors, float [B], above 0."""
    return z_e.square().sum(1).flatten(1).mean(1).sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _full_precision(device: torch.device) -> Any:
    # TensorFloat-32 convolutions keep 10 bits: a thousand times the near-ties
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()
