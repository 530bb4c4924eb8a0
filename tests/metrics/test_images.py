"""PSNR and SSIM are what the field's tools compute, whichever of them is installed."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vqvae.metrics.images import psnr, ssim, ssim_window
from vqvae.tensors import images_from_pixels, pixels_from_images


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def pair(count: int, channels: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures and noisy copies of them, uint8, from whole-number arithmetic alone."""
    y, x = torch.arange(height)[:, None], torch.arange(width)
    plane = (7 * y + 5 * x) % 200 + 20
    original = torch.stack([(plane * (i + 2)) // (i + 3) for i in range(count * channels)])
    noise = torch.arange(original.numel()).view_as(original) * 7919 % 61 - 30
    noisy = (original + noise).clamp(0, 255)
    shape = count, channels, height, width
    return original.view(shape).to(torch.uint8), noisy.view(shape).to(torch.uint8)


# scikit-image 0.26.0: structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
# data_range=255, channel_axis=0) of each image of pair(*shape)
STORED = {
    (3, 3, 32, 32): [0.6154383542277843, 0.6591476425416912, 0.6774305635735391],
    (2, 1, 11, 24): [0.3976773776334565, 0.4474075395933284],
    (1, 3, 40, 17): [0.5701865469116834],
}


@pytest.mark.parametrize("shape", STORED)
def test_ssim_equals_the_numbers_of_scikit_image(shape: tuple[int, int, int, int]) -> None:
    original, noisy = pair(*shape)
    assert ssim(original, images_from_pixels(noisy)).tolist() == pytest.approx(STORED[shape], abs=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="needs scikit-image")
@pytest.mark.parametrize("shape", [*STORED, (4, 3, 64, 48), (1, 1, 11, 11)])
def test_ssim_is_that_of_scikit_image_where_it_is_installed(shape: tuple[int, int, int, int]) -> None:
    from skimage.metrics import structural_similarity

    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for one, other in (pair(*shape), (pixels(*shape), pixels(*shape, seed=1))):
        expected = [structural_similarity(a.numpy(), b.numpy(), channel_axis=0, **how)
                    for a, b in zip(one, other, strict=True)]  # fmt: skip
        assert ssim(one, images_from_pixels(other)).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_is_the_mean_over_windows_within_the_image() -> None:
    """Equation 13 of Wang et al. 2004, window by window."""
    [[x]], [[y]] = (image.double() for image in pair(1, 1, 13, 12))
    at = torch.arange(11, dtype=torch.float64) - 5
    weights = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for top in range(3):
        for left in range(2):
            a, b = (image[top : top + 11, left : left + 11] for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            cov = (weights * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 2.55**2, 7.65**2
            found.append(
                (2 * mean_a * mean_b + c1) * (2 * cov + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )  # fmt: skip
    original, noisy = pair(1, 1, 13, 12)
    assert float(ssim(original, images_from_pixels(noisy))) == pytest.approx(float(torch.stack(found).mean()))


def test_ssim_is_one_for_a_copy_and_falls_with_noise() -> None:
    original = pixels(2, 3, 16, 16)
    images = images_from_pixels(original)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    levels = [ssim(original, images + sigma * noise) for sigma in (0.0, 0.1, 0.5)]
    torch.testing.assert_close(levels[0], torch.ones(2, dtype=torch.float64))
    assert (levels[0] > levels[1]).all() and (levels[1] > levels[2]).all()


def test_an_image_below_11_pixels_gets_the_largest_odd_window_that_fits() -> None:
    assert ssim_window(11, 400) == (11, 1.5) and ssim_window(400, 10) == (9, 1.5 * 9 / 11)
    for height, width in ((10, 30), (6, 9), (2, 2), (1, 5)):
        original = pixels(1, 1, height, width)
        assert float(ssim(original, images_from_pixels(original))) == pytest.approx(1)
        assert float(ssim(original, images_from_pixels(255 - original))) < 0.9


def test_psnr_is_its_definition_on_rounded_pixels() -> None:
    original = pixels(3, 3, 16, 16)
    reconstruction = images_from_pixels(pixels(3, 3, 16, 16, seed=1)) + 0.001
    rounded = pixels_from_images(reconstruction)
    for one, other, found in zip(original, rounded, psnr(original, reconstruction), strict=True):
        error = np.mean((one.numpy().astype(float) - other.numpy().astype(float)) ** 2)
        assert float(found) == pytest.approx(10 * math.log10(255**2 / error))
    assert psnr(original, images_from_pixels(original)).isinf().all()


def test_no_library_of_metrics_is_needed() -> None:
    """No value depends on a version of torchmetrics or scikit-image: nothing in the package imports them."""
    source = Path(__file__).parent.parent.parent / "src"
    for path in source.rglob("*.py"):
        assert "torchmetrics" not in path.read_text() and "import skimage" not in path.read_text(), path
