"""Compare rate and distortion of lossy compression: JPEG, WebP, AVIF and JPEG XL beside models of this project.

Each format writes one file for each image, or with ``--tall N`` one for N images below each other, which have one
header; the models write one archive. Rates are bits per pixel, with headers (whole files; the model itself is not
counted) and without (the coded payload alone: a JPEG without its tables, the codes of an archive). PSNR and SSIM
are means over images. JPEG XL needs ``pip install pillow-jxl-plugin``; its headers cannot be told from the rest.

    python benchmarks/rates.py --data SPEC [--split test] [--count N] [--models RUN RUN ...] [--tall N]
        [--out rates.png]

A model is the run of a prior, or of a tokenizer for the uniform prior. A residual tokenizer has a point for each
depth; the rate of its first codes is the share of all codes' bits that they have under the prior.
"""

import argparse
import importlib.util
import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqvae.commands.coding_models import models_of_run
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


def batches(images: Sequence[Tensor], most: int) -> Iterator[Tensor]:
    """Yield neighbouring images of one size as uint8 [B, C, H, W], at most ``most`` together."""
    for _, alike in groupby(images, lambda image: image.shape):
        yield from torch.stack(list(alike)).split(most)


def codec_points(kind: str, images: Sequence[Tensor], tall: int) -> Iterator[Point]:
    for quality in QUALITIES[kind]:
        point = Sums(f"{kind} {quality}" + (" tall" if tall > 1 else ""))
        for batch in batches(images, tall):
            count, _, height, width = batch.shape
            content = io.BytesIO()
            rows = batch.permute(0, 2, 3, 1).reshape(count * height, width, 3)
            Image.fromarray(rows.numpy()).save(content, kind, quality=quality)
            restored = np.array(Image.open(content).convert("RGB")).reshape(count, height, width, 3)
            point.size += len(content.getvalue())
            point.payload += payload(kind, content.getvalue())
            point.measure(batch, torch.from_numpy(restored).permute(0, 3, 1, 2))
        yield point.result()


@torch.no_grad()
def model_points(run: str, images: Sequence[Tensor]) -> Iterator[Point]:
    models = models_of_run(run)
    tokenizer, prior = models.tokenizer.model, models.prior and models.prior.model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row, pixels in enumerate(images):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{row:06d}.png")
        done = compress(sorted(map(str, folder.glob("*.png"))), run, folder / "archive.vqi")
    depths = tokenizer.depths
    points = [Sums(f"vqvae {Path(run).name}" + (f" depth {d}" if len(depths) > 1 else "")) for d in depths]
    nats = torch.zeros(tokenizer.codes_per_position, dtype=torch.float64)
    for batch in batches(images, 50):
        codes = tokenizer.encode(batch, exact=True)
        nats += (prior.code_nats(codes) if prior else torch.ones(codes.shape)).double().sum((0, 1, 2))
        for depth, point in zip(depths, points, strict=True):
            point.measure(batch, pixels_from_images(tokenizer.decode(codes[..., :depth])))
    for depth, point in zip(depths, points, strict=True):
        point.payload = done.code_bytes * (nats[:depth].sum() / nats.sum()).item()
        point.size = done.size - done.code_bytes + point.payload
        yield point.result()


class Sums:
    """Adds up the bytes and the measures of one point."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size, self.payload, self.pixels = 0.0, 0.0, 0
        self.psnr, self.ssim = list[Tensor](), list[Tensor]()

    def measure(self, batch: Tensor, restored: Tensor) -> None:
        """Add images and their restored ones, uint8 [B, C, H, W]."""
        images = images_from_pixels(restored)
        self.pixels += batch[:, 0].numel()
        self.psnr.append(psnr(batch, images))
        self.ssim.append(ssim(batch, images))

    def result(self) -> Point:
        """Return the rates and the means."""
        rates = (8 * self.size / self.pixels, 8 * self.payload / self.pixels)
        return Point(self.name, *rates, *(torch.cat(each).mean().item() for each in (self.psnr, self.ssim)))


def at_equal_bytes(points: Sequence[Point]) -> Iterator[str]:
    """Yield PSNR and SSIM of each model, and of each format at the same bytes, between its nearest points."""
    yield f"{'PSNR / SSIM':24}" + "".join(f"{kind:>15}" for kind in ("model", *QUALITIES))
    for own in (each for each in points if each.name.startswith("vqvae")):
        found = [(own.psnr, own.ssim)]
        for kind in QUALITIES:
            curve = sorted((e for e in points if e.name.startswith(f"{kind} ")), key=lambda e: e.with_headers)
            rates = np.log([each.with_headers for each in curve])
            values = ([each.psnr for each in curve], [each.ssim for each in curve])
            place = np.log(own.with_headers)
            found.append(tuple(np.interp(place, rates, each, left=np.nan, right=np.nan) for each in values))
        yield f"{own.name:24}" + "".join(f"{decibels:8.2f} {alike:6.3f}" for decibels, alike in found)


def draw(points: Sequence[Point], out: Path) -> None:
    """Draw PSNR and SSIM over the rate without headers, one line for each format."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in dict.fromkeys(each.name.split(" ")[0] for each in points):
        own = [each for each in points if each.name.split(" ")[0] == name]
        for axis, values in zip(axes, ([each.psnr for each in own], [each.ssim for each in own]), strict=True):
            axis.plot([each.without for each in own], values, "o-" if name != "vqvae" else "s", label=name)
    for axis, title in zip(axes, ("PSNR, dB", "SSIM"), strict=True):
        axis.set(xlabel="bits per pixel, without headers", ylabel=title, xscale="log")
        axis.set_xticks(ticks := [0.1, 0.2, 0.5, 1, 2], list(map(str, ticks)))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(out, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--tall", type=int, default=1, help="images of one file of a format")
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
        held = {"validation": "auto"} if arguments.split == "validation" else {}
        images = list(load(arguments.data, arguments.split, limit=arguments.count, **held).pixels)
    print(f"{len(images):,} images\n{'':24}{'bits/pixel':>12}{'no headers':>12}{'PSNR, dB':>10}{'SSIM':>8}")
    points: list[Point] = []
    sources = [
        *(codec_points(kind, images, arguments.tall) for kind in QUALITIES),
        *(model_points(r, images) for r in arguments.models),
    ]
    for source in sources:
        for each in source:
            points.append(each)
            print(
                f"{each.name:24}{each.with_headers:12.3f}{each.without:12.3f}{each.psnr:10.2f}{each.ssim:8.3f}",
                flush=True,
            )
    print("at the same bytes, with headers", *at_equal_bytes(points), sep="\n")
    if arguments.out:
        draw(points, arguments.out)


if __name__ == "__main__":
    main()
