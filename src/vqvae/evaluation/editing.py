"""Parts of an image drawn anew: from an image file and a mask to a picture."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from vqvae.errors import UserError
from vqvae.evaluation.jobs import check_flags, label_rows, load_files
from vqvae.evaluation.pictures import grid
from vqvae.hub import choose_device, load_prior, load_tokenizer, read_model
from vqvae.sampling import inpaint
from vqvae.tensors import images_from_pixels, pixels_from_images

_GREY = 128  # of what is shown as taken out


def inpaint_picture(
    path: str,
    image: str,
    *,
    mask: str | None = None,
    box: str | None = None,
    num: int = 6,
    candidates: int = 8,
    label: str | None = None,
    device: str = "auto",
    **controls: Any,
) -> Image.Image:
    """Draw a part of an image anew and lay out the image, what was taken out, and ``num`` ways to fill it.

    Args:
        path: the prior's run directory.
        image: its file.
        mask: a picture as large as the image, white where it is drawn anew.
        box: "TOP,LEFT,HEIGHT,WIDTH" in pixels instead of a mask.
        num: ways.
        candidates: of which each is chosen, see ``vqvae.sampling.inpaint``.
        label: a class's name or number; None for no class.
        device: where to run.
        **controls: seed, temperature, top_k, top_p, guidance of ``vqvae.sampling.inpaint``.

    Raises:
        UserError: for files that do not fit, an unknown class, or a control out of its range.
    """
    for flag, value in (("num", num), ("candidates", candidates)):
        if value < 1:
            raise UserError(f"--{flag} {value}: must be 1 or more")
    on = choose_device(device)
    prior, tokenizer, (card, _) = load_prior(path, device=on), load_tokenizer(path, device=on), read_model(path)
    labels = label_rows(num, label, card.classes, prior.num_classes)
    check_flags(controls, labels)
    if not Path(image).is_file():
        raise UserError(f"{image}: no such image file")
    pixels = load_files(path, [image])
    size = pixels.shape[2], pixels.shape[3]
    hole = _box(box, size) if box is not None else _mask(str(mask), size)
    codes = tokenizer.encode(images_from_pixels(pixels.to(on))).expand(num, -1, -1, -1)
    keep = kept_positions(hole, tokenizer.factor)
    with tqdm(total=codes.numel() * candidates, desc="inpaint", unit="code", leave=False, disable=None) as bar:
        drawn = inpaint(prior, codes, keep, candidates=candidates, labels=labels, progress=bar.update, **controls)
    ways = pixels_from_images(tokenizer.decode(drawn)).cpu()
    return grid(torch.cat([pixels, pixels.masked_fill(hole, _GREY), ways]), columns=min(8, num + 2))


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
