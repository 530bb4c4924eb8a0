"""Metrics of reconstructions: NMSE, PSNR and SSIM."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqvae.metrics.accumulator import Accumulator, ImageMean
from vqvae.metrics.batch import Batch, Models
from vqvae.tensors import pixels_from_images

PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5  # of SSIM, Wang et al. 2004


def psnr(pixels: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, float64 [B]; higher is better.

    The peak is 255. The reconstruction is first rounded to uint8. An exact copy has an infinite PSNR.

    Args:
        pixels: uint8 [B, C, H, W].
        reconstruction: float [B, C, H, W] in [-1, 1].
    """
    error = pixels.double() - pixels_from_images(reconstruction).double()
    return 10 * torch.log10(PEAK**2 / error.square().flatten(1).mean(1))


def ssim(pixels: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity of each image, float64 [B] in -1..1; higher is better, 1 is a copy.

    These are equations 13 to 17 of Wang et al. 2004 (doi 10.1109/TIP.2003.819861) with C1 = (0.01 * 255)^2 and
    C2 = (0.03 * 255)^2, averaged over channels and over all windows that lie within the image. The reconstruction
    is first rounded to uint8. The numbers equal scikit-image's ``structural_similarity(..., gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=...)``. scikit-image refuses images with a
    side below 11 pixels; here they get a smaller window: see ``ssim_window``.

    Args:
        pixels: uint8 [B, C, H, W].
        reconstruction: float [B, C, H, W] in [-1, 1].
    """
    x, y = pixels.double(), pixels_from_images(reconstruction).double()
    size, sigma = ssim_window(pixels.shape[2], pixels.shape[3])
    rows, columns = (_gaussian_filter(side, size, sigma).to(x.device) for side in pixels.shape[2:])
    mean_x, mean_y, xx, yy, xy = rows @ torch.stack([x, y, x * x, y * y, x * y]) @ columns.T
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return (luminance * structure).flatten(1).mean(1)


def ssim_window(height: int, width: int) -> tuple[int, float]:
    """Return the size and sigma of SSIM's Gaussian window, in pixels: 11 and 1.5.

    If a side of the image is below 11 pixels, the size is the largest odd number that fits, and sigma is 1.5/11 of
    the size.
    """
    size = min(_WINDOW, (min(height, width) - 1) // 2 * 2 + 1)
    return size, _SIGMA * size / _WINDOW


def _gaussian_filter(length: int, size: int, sigma: float) -> Tensor:
    """Return the matrix that averages each window of a line, float64 [length - size + 1, length]."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    # a matrix product in float64 is ten times as fast as a convolution
    windows = torch.eye(length, dtype=torch.float64).unfold(1, size, 1)
    return (windows @ (weights / weights.sum())).T


class ImageCount(Accumulator):
    """The number of images."""

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.images = 0

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.images += len(batch)

    def result(self) -> Mapping[str, float | None]:
        """Return ``images``."""
        return {"images": self.images}


class NMSE(Accumulator):
    """The mean squared error of reconstructions in [-1, 1], divided by the variance of the training pixels."""

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.squares, self.elements = 0.0, 0

    def add(self, batch: Batch) -> None:
        """Add a batch's squared errors."""
        self.squares += float((batch.reconstruction - batch.images).double().square().sum())
        self.elements += batch.pixels.numel()

    def result(self) -> Mapping[str, float | None]:
        """Return ``nmse``."""
        variance = float(self.models.tokenizer.pixel_variance)
        return {"nmse": self.squares / self.elements / variance if self.elements else None}


class PSNR(ImageMean):
    """See ``psnr``."""

    name = "psnr"

    def values(self, batch: Batch) -> Tensor:
        """Return the PSNR of each image, float64 [B]."""
        return psnr(batch.pixels, batch.reconstruction)

    def protocol(self) -> Mapping[str, Any]:
        """Return what defines the number."""
        return {"psnr": {"peak": int(PEAK), "rounded": "uint8", "mean": "over images"}}


class SSIM(ImageMean):
    """See ``ssim``."""

    name = "ssim"
    window = (_WINDOW, _SIGMA)

    def values(self, batch: Batch) -> Tensor:
        """Return the SSIM of each image, float64 [B]."""
        self.window = ssim_window(batch.pixels.shape[2], batch.pixels.shape[3])
        return ssim(batch.pixels, batch.reconstruction)

    def protocol(self) -> Mapping[str, Any]:
        """Return what defines the number."""
        size, sigma = self.window
        window = {"window": f"gaussian {size}x{size}", "sigma": sigma, "region": "windows within the image"}
        return {"ssim": {**window, "peak": int(PEAK), "rounded": "uint8", "precision": "float64"}}
