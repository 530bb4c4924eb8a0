"""Replace a part of an image by samples from a prior."""

from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vqvae.commands.controls import check_controls
from vqvae.commands.resolve import PriorRun, check_at_least_1, image_files, same_label
from vqvae.data.formats import plain_formats
from vqvae.errors import ArgumentError, UserError
from vqvae.progress import Progress, advancing, silent
from vqvae.report.pictures import grid
from vqvae.sampling import PLAIN, Controls, vary
from vqvae.tensors import images_from_pixels, pixels_from_images

_GREY = 128  # the colour of the part to replace, in the picture of the given image


def inpaint_picture(
    run: PriorRun,
    image: str,
    *,
    mask: str | None = None,
    box: tuple[int, int, int, int] | None = None,
    depth: int = 0,
    num: int = 6,
    candidates: int = 8,
    label: str | None = None,
    seed: int = 0,
    controls: Controls = PLAIN,
    progress: Progress = silent,
) -> Image.Image:
    """Replace a part of an image by samples; lay out the image, the part that is given, and ``num`` samples.

    The second picture shows what the samples are conditioned on: the image with the part in grey. With a
    ``depth``, it shows the reconstruction of the image.

    Args:
        run: the prior and its tokenizer.
        image: the image's file.
        mask: an image file of the same size, white where the image is replaced.
        box: (top, left, height, width) of the part in pixels, instead of a mask.
        depth: number of codes of each position that are kept, see ``vqvae.sampling.vary``. Without mask and box,
            the whole image varies.
        num: number of samples.
        candidates: number of candidates per sample, see ``vqvae.sampling.inpaint``.
        label: the name or number of a class; None for no class.
        seed: the seed, see ``vqvae.sampling.inpaint``.
        controls: temperature, top_k, top_p, guidance.
        progress: called with the number of codes drawn so far and the number of all codes.

    Raises:
        ArgumentError: for an unknown class, or a value out of its range.
        UserError: for files that do not fit.
    """
    prior, tokenizer = run.prior.model, run.tokenizer.model
    check_at_least_1(num=num, candidates=candidates)
    _check_depth(depth, prior.spec.codes_per_position)
    labels = same_label(label, num, run.prior)
    check_controls(controls, labels)
    if not Path(image).is_file():
        raise UserError(f"{image}: no such image file")
    pixels = image_files(run, [image])
    hole = _hole(mask, box, depth, (pixels.shape[2], pixels.shape[3]))
    codes = tokenizer.encode(images_from_pixels(pixels.to(run.device))).expand(num, -1, -1, -1)
    drawn = vary(
        prior,
        codes,
        depth=depth,
        region=~kept_positions(hole, tokenizer.factor),
        controls=controls,
        candidates=candidates,
        labels=labels,
        seed=seed,
        progress=advancing(progress, codes.numel() * candidates),
    )
    shown = torch.cat([codes[:1], drawn]) if depth else drawn
    ways = pixels_from_images(tokenizer.decode(shown)).cpu()
    given = pixels if depth else torch.cat([pixels, pixels.masked_fill(hole, _GREY)])
    return grid(torch.cat([given, ways]), columns=min(8, num + 2))


def _check_depth(depth: int, codes_per_position: int) -> None:
    if not 0 <= depth < codes_per_position:
        has = f"{codes_per_position} codes per position" if codes_per_position > 1 else "one code per position"
        raise ArgumentError("depth", f"{depth}: must be 0 to {codes_per_position - 1}: this tokenizer has {has}")


def _hole(mask: str | None, box: tuple[int, int, int, int] | None, depth: int, size: tuple[int, int]) -> Tensor:
    """Return where an image of (height, width) is replaced, bool [H, W]."""
    if box is not None:
        return _box(box, size)
    if mask is not None:
        return _mask(mask, size)
    if depth == 0:
        raise UserError("nothing to replace: give a box, a mask or a depth")
    return torch.ones(size, dtype=torch.bool)


def kept_positions(hole: Tensor, factor: int) -> Tensor:
    """Return the positions whose whole patch lies outside the hole, bool [H / factor, W / factor] of [H, W]."""
    height, width = hole.shape
    return ~hole.view(height // factor, factor, width // factor, factor).any(3).any(1)


def _box(box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Return a hole, bool [H, W], that is True within (top, left, height, width)."""
    top, left, height, width = box
    if min(top, left) < 0 or min(height, width) < 1 or top + height > size[0] or left + width > size[1]:
        where = ",".join(map(str, box))
        raise ArgumentError("box", f"{where}: does not lie inside the image, {size[0]}x{size[1]} (height x width)")
    hole = torch.zeros(size, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


def _mask(path: str, size: tuple[int, int]) -> Tensor:
    """Read an image file as a hole, bool [H, W], that is True where the file is brighter than half."""
    try:
        with Image.open(path, formats=plain_formats()) as picture:
            width, height = picture.size
            grey = picture.convert("L").tobytes()
    except FileNotFoundError:
        raise ArgumentError("mask", f"{path}: no such file") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ArgumentError("mask", f"{path}: not an image: {problem}") from None
    if (height, width) != size:
        sizes = f"{height}x{width}, but the image is {size[0]}x{size[1]} (height x width)"
        raise ArgumentError("mask", f"{path}: {sizes}; both must have the same size")
    hole = torch.frombuffer(bytearray(grey), dtype=torch.uint8).view(size) > 127
    if not hole.any():
        raise ArgumentError("mask", f"{path}: no pixel is white, so there is nothing to replace")
    return hole
