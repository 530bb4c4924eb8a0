"""The pixels of an image, written or read under the likelihood of its decoder.

A value v of 0..255 is written as eight bits, the highest first. Each bit halves an interval of levels; its
probability is the mass of the upper half. So a value takes eight evaluations of the distribution function
instead of 256 masses, and all values that do not depend on each other are coded at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vqvae.coding.integer import IntegerLikelihood
from vqvae.coding.range_coder import TOTAL, Coder
from vqvae.likelihoods import Likelihood

_LEVELS = 256
_STEPS = (128, 64, 32, 16, 8, 4, 2, 1)


@torch.no_grad()
def code_pixels(
    coder: Coder, likelihood: Likelihood | IntegerLikelihood, parameters: Tensor, pixels: Tensor | None = None
) -> Tensor:
    """Write the pixels of images and return them, uint8 [B, C, H, W]; or read and return them.

    Args:
        coder: the writer or the reader.
        likelihood: p(x | z_q), which defines how pixels are coded, or its integer form.
        parameters: the decoder's output, float64 [B, out_channels, H, W].
        pixels: uint8 [B, C, H, W]; None to read them.

    Raises:
        FormatError: when a reader's bytes do not decode.
    """
    count, _, height, width = parameters.shape
    found = torch.empty(count, likelihood.channels, height, width, dtype=torch.uint8)
    for place, below in likelihood.coding_order(parameters, found):
        given = None if pixels is None else pixels[place].long()
        found[place] = _code_values(coder, below, found[place].shape, given)
    return found


@torch.no_grad()
def pixel_bits(likelihood: Likelihood | IntegerLikelihood, parameters: Tensor, pixels: Tensor) -> float:
    """Return the bits that ``code_pixels`` takes for pixels, with its rounded probabilities and without overhead.

    Args:
        likelihood: p(x | z_q), or its integer form.
        parameters: the decoder's output, float64 [B, out_channels, H, W].
        pixels: uint8 [B, C, H, W].
    """
    bits = 0.0
    for place, below in likelihood.coding_order(parameters, pixels):
        own = pixels[place].long()
        low, high = (_integer_mass(below(values), values) for values in (own, own + 1))
        bits -= float(((high - low).double() / TOTAL).log2().sum())
    return bits


def _code_values(
    coder: Coder, below: Callable[[Tensor], Tensor], shape: tuple[int, ...], values: Tensor | None
) -> Tensor:
    """Code values of one channel, [B, h, w], bit by bit."""
    low = torch.zeros(shape, dtype=torch.int64)
    mass_below, mass_above = torch.zeros_like(low), torch.full_like(low, TOTAL)  # of the interval's two ends
    for step in _STEPS:
        middle = _integer_mass(below(low + step), low + step)
        middle = torch.maximum(torch.minimum(middle, mass_above - step), mass_below + step)
        upper = (mass_above - middle).double() / (mass_above - mass_below)
        bit = None if values is None else (values - low >= step).flatten().to(torch.int32).numpy()
        taken = torch.from_numpy(coder.bits(upper.flatten().numpy(), bit)).bool().view(shape)
        low = torch.where(taken, low + step, low)
        mass_below = torch.where(taken, middle, mass_below)
        mass_above = torch.where(taken, mass_above, middle)
    return low.to(torch.uint8)


def _integer_mass(probability: Tensor, values: Tensor) -> Tensor:
    """Return p(value < v) in units of 1 / TOTAL, int64, at least one unit for each level below v."""
    return (probability * (TOTAL - _LEVELS)).floor().long() + values
