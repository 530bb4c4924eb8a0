"""Compare tiled with untiled encoding and decoding: differing codes, differing values, largest difference.

The image files keep their sizes, cut to multiples of the factor. The last rows of the table are odd sizes, cut out
of the first image. The codes are exact codes.

    python benchmarks/tiles.py RUN photos/*.png [--tile 128]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqvae import load_tokenizer
from vqvae.models import VQVAE
from vqvae.tensors import images_from_pixels, pixels_from_images

_ODD = ((1, 1), (3, 5), (37, 23), (61, 101))  # heights and widths in positions


def cases(paths: list[Path], factor: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and pixels, uint8 [1, 3, H, W]."""
    for path in paths:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        height, width = (size // factor * factor for size in pixels.shape[2:])
        yield path.name, pixels[..., :height, :width]
    with Image.open(paths[0]) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    for height, width in _ODD:
        yield (
            f"{width * factor}x{height * factor} of {paths[0].name}",
            pixels[..., : height * factor, : width * factor],
        )


@torch.no_grad()
def differences(tokenizer: VQVAE, pixels: Tensor, tile: int) -> tuple[int, int, int, int]:
    """Return the number of codes, of differing codes, of differing values, and the largest difference."""
    images = images_from_pixels(pixels)
    whole, tiled = (tokenizer.encode(images, exact=True, **how) for how in ({}, {"tile": tile}))
    out, in_tiles = (pixels_from_images(tokenizer.decode(whole, **how)).int() for how in ({}, {"tile": tile}))
    levels = (out - in_tiles).abs()
    return whole.numel(), int((whole != tiled).sum()), int((levels > 0).sum()), int(levels.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the tokenizer")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--tile", type=int, default=128, help="side of a tile in pixels")
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.run)
    rows = list[tuple[int, int, int, int]]()
    print(f"{'image':28}{'codes':>8}{'differing':>11}{'values':>10}{'differing':>11}{'levels':>8}")
    for name, pixels in cases(arguments.images, tokenizer.factor):
        rows.append(differences(tokenizer, pixels, arguments.tile))
        codes, other_codes, other_values, most = rows[-1]
        print(f"{name:28}{codes:8,}{other_codes:11,}{pixels.numel():10,}{other_values:11,}{most:8}", flush=True)
    codes, other_codes, other_values, most = zip(*rows, strict=True)
    print(f"{'all':28}{sum(codes):8,}{sum(other_codes):11,}{'':10}{sum(other_values):11,}{max(most):8}")


if __name__ == "__main__":
    main()
