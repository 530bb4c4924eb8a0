"""The words of the project as types: pixels, images, and what a quantizer returns."""

from typing import NamedTuple

import torch
from torch import Tensor


class Quantized(NamedTuple):
    """What a quantizer makes of the encoder's output (arXiv 1711.00937, equations 1 to 3).

    Attributes:
        z_q: float [B, D, h, w], the chosen codebook vectors, bit for bit; the gradient passes straight through.
        codes: int64 [B, h, w, n], indices into the codebook, ``n`` codes a position.
        codebook_loss: scalar, ``mean (sg[z_e] - e)^2``: trains the codebook alone; 0 where it is not learned
            by gradient. Without a codebook, what keeps the codes in use instead, weighted by the quantizer: the
            entropies of LFQ and BSQ, the KL of a Gumbel posterior. The objective adds it as it is.
        commitment_loss: scalar, ``mean (z_e - sg[e])^2``: trains the encoder alone; beta is not in it.
    """

    z_q: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


def images_from_pixels(pixels: Tensor) -> Tensor:
    """Map pixels, uint8 [..., C, H, W] in 0..255, to images, float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def pixels_from_images(images: Tensor) -> Tensor:
    """Map images, float [..., C, H, W], to pixels, uint8: clamped to [-1, 1], scaled to 0..255 and rounded."""
    return images.detach().float().clamp(-1.0, 1.0).add(1.0).mul_(127.5).round_().to(torch.uint8)
