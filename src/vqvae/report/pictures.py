"""Pixels as pictures for people: grids, pairs, heat maps, and PNG files that are whole or absent."""

import base64
import io
from collections.abc import Sequence
from html import escape
from math import ceil, isqrt
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from vqvae.errors import UserError
from vqvae.files import write_atomically

GAP_GREY = 235  # light enough beside white, dark enough between two white images
_SMALLEST_HEIGHT = 64
_SCALE_WIDTH = 18
_STRIP = 5  # pictures over time
_WIDEST = 960  # CSS pixels
_BETWEEN_PAIRS = 8  # wider than the gap inside a pair, so that one sees which images are a pair


def grid(pixels: Tensor, *, columns: int | None = None, scale: int | None = None, gap: int = 2) -> Image.Image:
    """Lay images out in rows, from left to right and top to bottom. Cells without an image stay grey.

    Args:
        pixels: uint8 [N, C, H, W] in 0..255, N at least 1, C 1 (grey) or 3 (RGB).
        columns: images per row; by default the grid is about square.
        scale: how often each pixel is repeated in both directions; by default the smallest number that makes an
            image at least 64 pixels high.
        gap: pixels of light grey between neighbours, after scaling; there is no gap around the grid.

    Returns:
        A picture of mode L or RGB.

    Raises:
        ValueError: if the pixels are not uint8 [N, C, H, W] with N >= 1 and C 1 or 3, or ``columns`` or
            ``scale`` is below 1, or ``gap`` below 0.
    """
    cells = _scaled(pixels, scale)
    count, _, height, width = cells.shape
    across = isqrt(count - 1) + 1 if columns is None else min(columns, count)
    if across < 1 or gap < 0:
        raise ValueError(f"columns {columns} and gap {gap}: columns must be at least 1 and gap at least 0")
    corners = [((i // across) * (height + gap), (i % across) * (width + gap)) for i in range(count)]
    return _laid_out(cells, corners, width=across * (width + gap) - gap)


def pairs(originals: Tensor, reconstructions: Tensor, columns: int = 8) -> Image.Image:
    """Lay out a row of originals with their reconstructions right below, then the next such pair of rows.

    Args:
        originals: uint8 [N, C, H, W] in 0..255, N at least 1, C 1 (grey) or 3 (RGB).
        reconstructions: the same shape; row i belongs to original i.
        columns: pairs per row.

    Returns:
        A picture of mode L or RGB, scaled as ``grid`` does by default.

    Raises:
        ValueError: as ``grid``, and if the two shapes differ.
    """
    if originals.shape != reconstructions.shape:
        raise ValueError(f"originals {[*originals.shape]} and reconstructions {[*reconstructions.shape]} differ")
    if columns < 1:
        raise ValueError(f"columns {columns}: must be at least 1")
    cells = _scaled(torch.cat([originals, reconstructions]), None)
    count, height, width = len(originals), cells.shape[2], cells.shape[3]
    across, gap = min(columns, count), 2
    block = 2 * height + gap + _BETWEEN_PAIRS
    upper = [((i // across) * block, (i % across) * (width + gap)) for i in range(count)]
    lower = [(top + height + gap, left) for top, left in upper]
    return _laid_out(cells, upper + lower, width=across * (width + gap) - gap)


def heat(values: Tensor) -> Tensor:
    """Return the colours of values in [0, 1], float [N, h, w], as uint8 [N, 3, h, w]: dark for 0, bright for 1."""
    from matplotlib import colormaps

    coloured = colormaps["magma"](values.clamp(0, 1).numpy(), bytes=True)
    return torch.as_tensor(coloured[..., :3].copy()).permute(0, 3, 1, 2)


def with_scale(picture: Image.Image, most: float, *, unit: str) -> Image.Image:
    """Add the scale of a heat map to the right of a picture: from 0 to ``most``, which has the colour of 1."""
    bar = heat(torch.linspace(1, 0, picture.height).expand(1, _SCALE_WIDTH, -1).mT)[0]
    canvas = Image.new("RGB", (picture.width + _SCALE_WIDTH + 110, picture.height), (GAP_GREY,) * 3)
    canvas.paste(picture, (0, 0))
    canvas.paste(Image.fromarray(bar.permute(1, 2, 0).contiguous().numpy()), (picture.width + 8, 0))
    pen, left = ImageDraw.Draw(canvas), picture.width + _SCALE_WIDTH + 14
    for share, anchor in ((1.0, "lt"), (0.5, "lm"), (0.0, "lb")):
        at = left, (1 - share) * picture.height
        pen.text(at, f"{share * most:.3g} {unit}", fill=0, anchor=anchor, font=ImageFont.load_default(16))
    return canvas


def save_png(image: Image.Image, path: Path | str) -> None:
    """Write a PNG so that ``path`` holds the old file or the whole new one, never a part.

    Raises:
        OSError: if the folder does not exist or cannot be written; nothing is left behind.
    """
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    write_atomically(Path(path), encoded.getvalue())


def img_element(path: Path, *, alt: str) -> str:
    """Write a PNG file as an HTML ``<img>`` that holds the picture itself; see ``picture_element``.

    Raises:
        UserError: when the file is not a PNG.
    """
    try:
        with Image.open(path) as image:
            size = image.size
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a PNG; delete it and run again") from error
    return _element(path.read_bytes(), size, alt, _WIDEST)


def picture_element(image: Image.Image, *, alt: str, widest: int = _WIDEST) -> str:
    """Write a picture as an HTML ``<img>`` that holds it as PNG.

    Args:
        image: the picture.
        alt: what the picture shows, for those who do not see it.
        widest: CSS pixels that the page offers. A picture of less than half the width is enlarged by a whole
            factor. Only a picture that fits gets the class ``exact``: shrinking by nearest neighbour drops rows.
    """
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return _element(encoded.getvalue(), image.size, alt, widest)


def _element(png: bytes, size: tuple[int, int], alt: str, widest: int) -> str:
    width, height = size
    scale = max(1, widest // 2 // width)
    exact = ' class="exact"' if width * scale <= widest else ""
    shown = f'width="{width * scale}" height="{height * scale}"'
    content = base64.b64encode(png).decode()
    return f'<img{exact} {shown} alt="{escape(alt)}" src="data:image/png;base64,{content}">'


def figures_over_time(folder: Path, kind: str, *, alt: str) -> str:
    """Return HTML that shows the last picture of a kind large, and up to five earlier ones small.

    Args:
        folder: has ``KIND-STEP.png`` and perhaps ``KIND.png``, which then is the last picture.
        kind: such as ``samples``.
        alt: what the pictures show.

    Returns:
        HTML figures; "" if there is no such picture.

    Raises:
        UserError: when one of these files is not a PNG.
    """
    numbered = [(path.stem.removeprefix(f"{kind}-"), path) for path in folder.glob(f"{kind}-*.png")]
    steps = sorted((int(step), path) for step, path in numbered if step.isdecimal())
    final = folder / f"{kind}.png"
    if not final.is_file() and not steps:
        return ""
    when, last = ("Last", final) if final.is_file() else (f"Step {steps[-1][0]:,}", steps[-1][1])
    large = f"<figure>{img_element(last, alt=alt)}<figcaption>{when}: {alt}.</figcaption></figure>"
    if len(steps) < 2:
        return large
    shown = min(len(steps), _STRIP)
    small = "".join(
        f"<figure>{img_element(path, alt=f'{alt}, step {step:,}')}<figcaption>Step {step:,}</figcaption></figure>"
        for step, path in (steps[i * (len(steps) - 1) // (shown - 1)] for i in range(shown))
    )
    return f'{large}<div class="strip">{small}</div>'


def _scaled(pixels: Tensor, scale: int | None) -> Tensor:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or len(pixels) < 1 or pixels.shape[1] not in (1, 3):
        raise ValueError(
            f"pixels {pixels.dtype} {[*pixels.shape]}: expected uint8 [N, C, H, W] with N >= 1 and C 1 or 3"
        )
    scale = ceil(_SMALLEST_HEIGHT / pixels.shape[2]) if scale is None else scale
    if scale < 1:
        raise ValueError(f"scale {scale}: must be at least 1")
    return pixels.detach().cpu().repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def _laid_out(cells: Tensor, corners: Sequence[tuple[int, int]], *, width: int) -> Image.Image:
    _, channels, cell_height, cell_width = cells.shape
    height = max(top for top, _ in corners) + cell_height
    canvas = torch.full((height, width, channels), GAP_GREY, dtype=torch.uint8)
    for cell, (top, left) in zip(cells, corners, strict=True):
        canvas[top : top + cell_height, left : left + cell_width] = cell.permute(1, 2, 0)
    return Image.fromarray((canvas[..., 0] if channels == 1 else canvas).contiguous().numpy())
