"""Measurements, each a sum over images or codes, so that a split's figure never depends on the batch size."""

from math import log

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from vqvae.tensors import pixels_from_images


def psnr(pixels: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, float64 [B]; higher is better.

    Peak 255, after the reconstruction is rounded to uint8; an exact copy gives infinity.

    Args:
        pixels: uint8 [B, C, H, W].
        reconstruction: float [B, C, H, W] in [-1, 1].
    """
    error = pixels.double() - pixels_from_images(reconstruction).double()
    return 10 * torch.log10(255.0**2 / error.square().flatten(1).mean(1))


def ssim(pixels: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity of each image, float64 [B], at most 1; higher is better.

    Wang et al. 2004: 11x11 Gaussian window of sigma 1.5 (smaller where the image is), peak 255, after rounding
    to uint8, mean over channels.

    Args:
        pixels: uint8 [B, C, H, W].
        reconstruction: float [B, C, H, W] in [-1, 1].
    """
    window = min(11, (min(pixels.shape[2:]) - 1) // 2 * 2 + 1)
    similarity = structural_similarity_index_measure(
        pixels_from_images(reconstruction).float(),
        pixels.float(),
        sigma=1.5 * window / 11,
        kernel_size=window,
        data_range=255.0,
        reduction="none",
    )
    assert isinstance(similarity, Tensor)
    return similarity.double()


class CodeCounts:
    """How often each code was chosen over everything that was added; memory grows with the codes in use, not K.

    Args:
        num_codes: K.
    """

    def __init__(self, num_codes: int) -> None:
        self.num_codes = num_codes
        self.codes = torch.zeros(0, dtype=torch.int64)  # those chosen so far
        self.times = torch.zeros(0, dtype=torch.int64)

    def add(self, codes: Tensor) -> None:
        """Count codes, int64 of any shape."""
        found, times = codes.flatten().cpu().unique(return_counts=True)
        self.codes, where = torch.cat([self.codes, found]).unique(return_inverse=True)
        both = torch.cat([self.times, times])
        self.times = torch.zeros(len(self.codes), dtype=torch.int64).index_add_(0, where, both)

    @property
    def counts(self) -> Tensor:
        """How often each code was chosen, int64 [K]; [0] where K is above 2^20, too many to list."""
        if self.num_codes > 2**20:
            return torch.zeros(0, dtype=torch.int64)
        return torch.zeros(self.num_codes, dtype=torch.int64).index_add_(0, self.codes, self.times)

    @property
    def counted(self) -> int:
        """The number of codes added."""
        return int(self.times.sum())

    @property
    def dead(self) -> int:
        """The number of codes never chosen."""
        return self.num_codes - len(self.codes)

    @property
    def perplexity(self) -> float:
        """The exponential of the codes' entropy, in 1..K: as many codes in equal use carry as much."""
        share = self.times.double() / self.times.sum()
        return float(torch.exp(-torch.xlogy(share, share).sum()))

    @property
    def usage(self) -> float:
        """The share of codes chosen at least once, in [0, 1]."""
        return len(self.codes) / self.num_codes


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / log(2)
