"""Parts of an image drawn anew: from an image file and a mask to a picture."""

from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from vqvae.commands.resolve import check_flags, images_named, open_prior_run
from vqvae.errors import UserError
from vqvae.report.pictures import grid
from vqvae.sampling import PLAIN, Controls, vary
from vqvae.tensors import images_from_pixels, pixels_from_images

_GREY = 128  # of what is shown as taken out


def inpaint_picture(
    path: str,
    image: str,
    *,
    mask: str | None = None,
    box: str | None = None,
    depth: int = 0,
    num: int = 6,
    candidates: int = 8,
    label: str | None = None,
    seed: int = 0,
    controls: Controls = PLAIN,
    device: str = "auto",
) -> Image.Image:
    """Draw a part of an image anew and lay out the image, what was given, and ``num`` ways to fill it.

    What was given is the image with the part in grey, or, where a ``depth`` of it stays, its reconstruction.

    Args:
        path: the prior's run directory.
        image: its file.
        mask: a picture as large as the image, white where it is drawn anew.
        box: "TOP,LEFT,HEIGHT,WIDTH" in pixels instead of a mask.
        depth: the codes of each position that stay, see ``vqvae.sampling.vary``; without mask and box, the whole
            image varies.
        num: ways.
        candidates: of which each is chosen, see ``vqvae.sampling.inpaint``.
        label: a class's name or number; None for no class.
        seed: of ``vqvae.sampling.inpaint``.
        controls: of the same.
        device: where to run.

    Raises:
        UserError: for files that do not fit, an unknown class, or a control out of its range.
    """
    run = open_prior_run(path, device)
    prior, tokenizer = run.prior, run.tokenizer
    _check(num, candidates, depth, prior.spec.codes_per_position)
    labels = run.label_rows(num, label)
    check_flags(controls, labels)
    if not Path(image).is_file():
        raise UserError(f"{image}: no such image file")
    pixels = images_named(path, tokenizer, [image])
    size = pixels.shape[2], pixels.shape[3]
    hole = _hole(mask, box, depth, size)
    codes = tokenizer.encode(images_from_pixels(pixels.to(run.device))).expand(num, -1, -1, -1)
    region = ~kept_positions(hole, tokenizer.factor)
    with tqdm(total=codes.numel() * candidates, desc="inpaint", unit="code", leave=False, disable=None) as bar:
        how = {"candidates": candidates, "labels": labels, "seed": seed, "progress": bar.update}
        drawn = vary(prior, codes, depth=depth, region=region, controls=controls, **how)
    shown = torch.cat([codes[:1], drawn]) if depth else drawn
    ways = pixels_from_images(tokenizer.decode(shown)).cpu()
    given = pixels if depth else torch.cat([pixels, pixels.masked_fill(hole, _GREY)])
    return grid(torch.cat([given, ways]), columns=min(8, num + 2))


def _check(num: int, candidates: int, depth: int, codes_per_position: int) -> None:
    for flag, value in (("num", num), ("candidates", candidates)):
        if value < 1:
            raise UserError(f"--{flag} {value}: must be 1 or more")
    if not 0 <= depth < codes_per_position:
        has = f"{codes_per_position} codes a position" if codes_per_position > 1 else "one code a position"
        raise UserError(f"--depth {depth}: must be 0 to {codes_per_position - 1}: this tokenizer has {has}")


def _hole(mask: str | None, box: str | None, depth: int, size: tuple[int, int]) -> Tensor:
    """Return where an image is drawn anew, bool [H, W]."""
    if box is not None:
        return _box(box, size)
    if mask is not None:
        return _mask(mask, size)
    if depth == 0:
        raise UserError("say what is drawn anew: --box TOP,LEFT,HEIGHT,WIDTH, --mask PNG, or --depth D")
    return torch.ones(size, dtype=torch.bool)


def kept_positions(hole: Tensor, factor: int) -> Tensor:
    """Return the positions whose whole patch lies outside the hole, bool [H / factor, W / factor] of [H, W]."""
    height, width = hole.shape
    return ~hole.view(height // factor, factor, width // factor, factor).any(3).any(1)


def _box(box: str, size: tuple[int, int]) -> Tensor:
    """Read "TOP,LEFT,HEIGHT,WIDTH" as a hole, bool [H, W]."""
    try:
        top, left, height, width = (int(number) for number in box.split(","))
    except ValueError:
        raise UserError(f"--box {box}: expected TOP,LEFT,HEIGHT,WIDTH in pixels, such as 8,8,16,16") from None
    if min(top, left) < 0 or min(height, width) < 1 or top + height > size[0] or left + width > size[1]:
        raise UserError(f"--box {box}: does not lie inside the image, {size[0]}x{size[1]} (height x width)")
    hole = torch.zeros(size, dtype=torch.bool)
    hole[top : top + height, left : left + width] = True
    return hole


def _mask(path: str, size: tuple[int, int]) -> Tensor:
    """Read a picture as a hole, bool [H, W]: white, brighter than half, is taken out."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            grey = picture.convert("L").tobytes()
    except FileNotFoundError:
        raise UserError(f"--mask {path}: no such file") from None
    except (UnidentifiedImageError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"--mask {path}: not an image: {problem}") from None
    if (height, width) != size:
        raise UserError(
            f"--mask {path}: {height}x{width}, but the image is {size[0]}x{size[1]} (height x width); "
            "they must be alike"
        )
    hole = torch.frombuffer(bytearray(grey), dtype=torch.uint8).view(size) > 127
    if not hole.any():
        raise UserError(f"--mask {path}: nothing of it is white, so nothing is drawn anew")
    return hole
