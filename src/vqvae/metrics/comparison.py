"""Two sets of images compared: pair by pair where they pair, and as distributions of features always."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqvae.losses import Perceptual
from vqvae.metrics.bootstrap import RESAMPLES, Interval, interval, resamples
from vqvae.metrics.frechet import frechet_distance, gaussian_of
from vqvae.metrics.images import PEAK, psnr, ssim, ssim_window
from vqvae.metrics.kid import kid
from vqvae.metrics.lpips import lpips as lpips_of
from vqvae.metrics.lpips import lpips_protocol
from vqvae.metrics.precision_recall import NEIGHBOURS, lies_within
from vqvae.tensors import images_from_pixels

PAIR_METRICS = ("psnr", "ssim", "lpips")
FEATURE_METRICS = ("frechet", "kid", "precision", "recall")
_RANGES = {"frechet": {"low": 0.0}, "precision": {"low": 0.0, "high": 1.0}, "recall": {"low": 0.0, "high": 1.0}}
_BATCH = 250
DEFINITIONS: Mapping[str, Any] = {
    "frechet": "of two Gaussians, covariance by N - 1, float64",
    "kid": "(x.y/F + 1)^3, unbiased, all pairs, float64",
    "precision_recall": {"neighbours": NEIGHBOURS, "precision": "B within A", "recall": "A within B"},
}


@dataclass(frozen=True)
class Figures:
    """Figures with their intervals.

    Attributes:
        values: by name.
        intervals: 95 % by bootstrap, by the same names; None where there is none.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval | None]

    def with_others(self, others: "Figures") -> "Figures":
        """Return these figures and others."""
        return Figures({**self.values, **others.values}, {**self.intervals, **others.intervals})


def feature_figures(a: Tensor, b: Tensor, *, paired: bool = False, count: int = RESAMPLES) -> Figures:
    """Return ``frechet``, ``kid``, ``precision`` and ``recall`` of the set B, judged against the set A.

    Args:
        a: float64 [N, F], features of the images that B is compared with.
        b: float64 [M, F], features of the images that are judged.
        paired: whether row i of B belongs to row i of A; both are then resampled together.
        count: number of resampled sets; 0 for no intervals.
    """
    counts_a = resamples(len(a), count)
    counts_b = counts_a if paired else resamples(len(b), count, seed=1)
    frechet = [
        frechet_distance(gaussian_of(a, of_a), gaussian_of(b, of_b))
        for of_a, of_b in zip(counts_a, counts_b, strict=True)
    ]
    return _with_intervals(
        {
            "frechet": torch.tensor(frechet, dtype=torch.float64),
            "kid": kid(a, b, counts_a, counts_b),
            "precision": counts_b @ lies_within(b, a).double() / len(b),
            "recall": counts_a @ lies_within(a, b).double() / len(a),
        }
    )


def pair_values(a: Tensor, b: Tensor, *, lpips: Perceptual | None = None) -> dict[str, Tensor]:
    """Return the ``psnr``, the ``ssim`` and, with a network, the ``lpips`` of each pair, float64 [N].

    Args:
        a: uint8 [N, C, H, W].
        b: uint8, the same shape; image i belongs to image i of A.
        lpips: the network that measures LPIPS, or None.
    """
    parts = list(zip(a.split(_BATCH), b.split(_BATCH), strict=True))
    found = {m.__name__: torch.cat([m(x, images_from_pixels(y)) for x, y in parts]) for m in (psnr, ssim)}
    if lpips is not None:
        found["lpips"] = torch.cat([lpips_of(lpips, x, y) for x, y in parts])
    return found


def pair_figures(values: Mapping[str, Tensor], *, count: int = RESAMPLES) -> Figures:
    """Return the means over pairs of ``pair_values``, with ``count`` resampled sets."""
    counts = resamples(len(values["psnr"]), count)
    return _with_intervals({name: (counts * each).mean(1) for name, each in values.items()})


def _with_intervals(found: Mapping[str, Tensor]) -> Figures:
    values = {name: float(figures[0]) for name, figures in found.items()}
    of = {name: interval(figures, **_RANGES.get(name, {})) for name, figures in found.items()}
    return Figures(values, of)


def pair_protocol(height: int, width: int, *, lpips: Perceptual | None = None) -> dict[str, Any]:
    """Return what defines PSNR, SSIM and LPIPS of images of a size; ``lpips`` is the network of LPIPS, or None."""
    size, sigma = ssim_window(height, width)
    measured = {} if lpips is None else {"lpips": lpips_protocol(lpips)}
    return measured | {
        "psnr": {"peak": int(PEAK), "mean": "over images"},
        "ssim": {"window": f"gaussian {size}x{size}", "sigma": sigma, "peak": int(PEAK), "precision": "float64"},
    }


def order_by_content(a: Tensor, b: Tensor, *, paired: bool) -> tuple[list[int], list[int]]:
    """Return an order of the rows of each set that depends on their pixels alone.

    So no figure depends on the order of files or rows, not even in its last digit. Pairs keep the same place.

    Args:
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W].
        paired: whether row i of B belongs to row i of A.
    """
    of_a, of_b = _hashes(a), _hashes(b)
    if paired:
        order = sorted(range(len(a)), key=lambda row: (of_a[row], of_b[row]))
        return order, order
    return sorted(range(len(a)), key=of_a.__getitem__), sorted(range(len(b)), key=of_b.__getitem__)


def _hashes(pixels: Tensor) -> list[bytes]:
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels]
