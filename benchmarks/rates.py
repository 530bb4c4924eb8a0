"""Compare rate and distortion of lossy compression: JPEG, WebP, AVIF and JPEG XL beside models of this project.

Each image is one file of each format; the models write one archive. Rates are bits per pixel, with headers (whole
files; the model itself is not counted) and without (the coded payload alone: a JPEG without its tables, the codes
of an archive). PSNR and SSIM are means over images. JPEG XL needs ``pip install pillow-jxl-plugin``.

    python benchmarks/rates.py --data SPEC [--split test] [--count N] [--models RUN RUN ...] [--out rates.png]

A model is the run of a prior, or of a tokenizer for the uniform prior. A residual tokenizer has a point for each
depth.
"""

import argparse
import importlib.util
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqvae import load_tokenizer
from vqvae.commands.compress import compress
from vqvae.data import load
from vqvae.metrics.images import psnr, ssim
from vqvae.tensors import images_from_pixels, pixels_from_images

QUALITIES = {"JPEG": (5, 10, 20, 40, 75), "WEBP": (1, 10, 30, 60, 85), "AVIF": (1, 15, 30, 50, 70)}


class Point(NamedTuple):
    """Rates in bits per pixel, and distortions."""

    name: str
    with_headers: float
    without: float
    psnr: float
    ssim: float


def payload(kind: str, content: bytes) -> int:
    """Return the bytes of the coded image without headers and tables."""
    if kind == "JPEG":
        return len(content) - content.index(b"\xff\xda")  # from the start of the scan
    if kind == "WEBP":
        return len(content) - 20  # RIFF and the header of its one chunk
    if kind == "AVIF":
        return len(content) - content.index(b"mdat") - 4
    return len(content)


def codec_points(kind: str, images: Sequence[Tensor]) -> Iterator[Point]:
    for quality in QUALITIES[kind]:
        sizes, payloads, measures = 0, 0, list[tuple[float, float]]()
        for pixels in images:
            content = io.BytesIO()
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(content, kind, quality=quality)
            sizes += len(content.getvalue())
            payloads += payload(kind, content.getvalue())
            restored = torch.from_numpy(np.array(Image.open(content).convert("RGB"))).permute(2, 0, 1)
            measures.append(measured(pixels, restored))
        yield point(f"{kind} {quality}", sizes, payloads, measures, images)


def model_points(run: str, images: Sequence[Tensor]) -> Iterator[Point]:
    tokenizer = load_tokenizer(run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row, pixels in enumerate(images):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{row:06d}.png")
        done = compress(sorted(map(str, folder.glob("*.png"))), run, folder / "archive.vqi")
    codes = [tokenizer.encode(images_from_pixels(pixels[None]), exact=True) for pixels in images]
    depths = codes[0].shape[3]
    for depth in range(1, depths + 1):
        decoded = [pixels_from_images(tokenizer.decode(own[..., :depth]))[0] for own in codes]
        measures = [measured(a, b) for a, b in zip(images, decoded, strict=True)]
        share = depth / depths  # of a prefix; exact for one code per position
        title = f"vqvae {Path(run).name}" + (f" depth {depth}" if depths > 1 else "")
        yield point(title, int(share * done.size), int(share * done.code_bytes), measures, images)


def measured(a: Tensor, b: Tensor) -> tuple[float, float]:
    other = images_from_pixels(b[None])
    return psnr(a[None], other).item(), ssim(a[None], other).item()


def point(
    name: str, size: int, payloads: int, measures: Sequence[tuple[float, float]], images: Sequence[Tensor]
) -> Point:
    pixels = sum(image[0].numel() for image in images)
    decibels, alike = (float(np.mean(values)) for values in zip(*measures, strict=True))
    return Point(name, 8 * size / pixels, 8 * payloads / pixels, decibels, alike)


def draw(points: Sequence[Point], out: Path) -> None:
    """Draw PSNR and SSIM over the rate without headers, one line for each format."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in dict.fromkeys(each.name.split(" ")[0] for each in points):
        own = [each for each in points if each.name.split(" ")[0] == name]
        for axis, values in zip(axes, ([each.psnr for each in own], [each.ssim for each in own]), strict=True):
            axis.plot([each.without for each in own], values, "o-" if name != "vqvae" else "s", label=name)
    for axis, title in zip(axes, ("PSNR, dB", "SSIM"), strict=True):
        axis.set(xlabel="bits per pixel, without headers", ylabel=title, xscale="log")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(out, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if importlib.util.find_spec("pillow_jxl") is not None:
        importlib.import_module("pillow_jxl")
        QUALITIES["JXL"] = (5, 20, 40, 60, 80)
    if Path(arguments.data).is_dir() and not any(Path(arguments.data).glob("*.parquet")):
        files = sorted(each for each in Path(arguments.data).iterdir() if each.suffix in (".png", ".jpg"))
        arrays = [np.array(Image.open(file).convert("RGB")) for file in files[: arguments.count]]
        images = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    else:
        images = list(load(arguments.data, arguments.split, limit=arguments.count).pixels)
    print(f"{len(images):,} images\n{'':24}{'bits/pixel':>12}{'no headers':>12}{'PSNR, dB':>10}{'SSIM':>8}")
    points: list[Point] = []
    sources = [
        *(codec_points(kind, images) for kind in QUALITIES),
        *(model_points(r, images) for r in arguments.models),
    ]
    for source in sources:
        for each in source:
            points.append(each)
            print(
                f"{each.name:24}{each.with_headers:12.3f}{each.without:12.3f}{each.psnr:10.2f}{each.ssim:8.3f}",
                flush=True,
            )
    if arguments.out:
        draw(points, arguments.out)


if __name__ == "__main__":
    main()
