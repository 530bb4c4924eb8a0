"""Compare the size of losslessly compressed images with PNG, WebP and JPEG XL, and time both directions.

Usage: python benchmarks/compress.py RUN --data SPEC [--split validation] [--count 1000] [--exact]

RUN is the run of a prior, or of a tokenizer. The other formats are at their strongest settings, as single files
and as tall images of many; JPEG XL needs ``pip install pillow-jxl-plugin``. The speed of ``compress`` includes its
check.
"""

import argparse
import importlib.util
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vqvae.commands.compress import compress
from vqvae.commands.decompress import decompress
from vqvae.data import load

_TALLEST = 16383  # pixels; WebP's limit
_HOW = {"PNG": {"optimize": True}, "WEBP": {"lossless": True, "quality": 100, "method": 6}}


def size_of(image: np.ndarray, kind: str) -> int:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **_HOW[kind])
    return len(content.getvalue())


def line(name: str, size: int, dimensions: int) -> None:
    print(f"{name:32}{size:12,} bytes  {8 * size / dimensions:.4f} bits per dimension", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--exact", action="store_true", help="compute with the integer form")
    arguments = parser.parse_args()
    if importlib.util.find_spec("pillow_jxl") is not None:
        importlib.import_module("pillow_jxl")
        _HOW["JXL"] = {"lossless": True, "effort": 9}
    held = {"validation": "auto"} if arguments.split == "validation" else {}
    pixels = load(arguments.data, arguments.split, limit=arguments.count, **held).pixels
    shown = pixels.permute(0, 2, 3, 1) if pixels.shape[1] > 1 else pixels[:, 0]
    images = np.ascontiguousarray(shown.numpy())
    dimensions = images.size
    for kind in _HOW:
        line(f"{kind}, single files", sum(size_of(image, kind) for image in images), dimensions)
        rows = max(1, _TALLEST // images.shape[1])
        parts = (images[at : at + rows].reshape(-1, *images.shape[2:]) for at in range(0, len(images), rows))
        line(f"{kind}, tall images", sum(size_of(part, kind) for part in parts), dimensions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        for lossless in (False, True):
            out, start = folder / f"{lossless}.vqi", time.monotonic()
            done = compress(
                [str(folder / "images.npy")],
                arguments.run,
                out,
                lossless=lossless,
                exact=arguments.exact,
                split="all",
            )
            middle = time.monotonic()
            decompress(out, folder / str(lossless), model=arguments.run)
            end = time.monotonic()
            kind = "lossless" if lossless else "codes alone"
            line(f"vqvae, {kind}", done.size, dimensions)
            payload = done.code_bytes + done.pixel_bytes
            line(f"vqvae, {kind}, without header", payload, dimensions)
            for what, seconds in (("compress and verify", middle - start), ("decompress to PNG", end - middle)):
                rate, megabytes = len(images) / seconds, images.nbytes / seconds / 1e6
                print(f"  {what}: {rate:.1f} images/s, {megabytes:.3f} MB/s of pixels")


if __name__ == "__main__":
    main()
