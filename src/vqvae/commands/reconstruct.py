"""Show images above their reconstructions."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from vqvae.commands.depth import check_depth
from vqvae.commands.resolve import TokenizerRun, images_named
from vqvae.commands.tiling import decoded, tiling_for
from vqvae.report.pictures import pairs
from vqvae.tensors import images_from_pixels, pixels_from_images


def reconstruction_picture(
    run: TokenizerRun, names: Sequence[str], *, tile: int | None = None, depth: int | None = None
) -> Image.Image:
    """Lay images out above their reconstructions.

    Args:
        run: the tokenizer.
        names: image files, or one data set, whose first 32 test images are shown.
        tile: side of the tiles of large images, in pixels; see ``tiling_for``.
        depth: number of codes of each position that are decoded, the first ones, for a residual quantizer; None
            decodes all.

    Raises:
        UserError: for images that do not fit, and a depth that the tokenizer does not have.
    """
    check_depth(run.tokenizer.model, depth)
    pixels = images_named(run, names)
    return pairs(pixels, _reconstructed(run, pixels, tile, depth))


def _reconstructed(run: TokenizerRun, pixels: Tensor, tile: int | None, depth: int | None) -> Tensor:
    """Return the reconstructions, uint8 [N, C, H, W]; of large images, one after the other."""
    model, (height, width) = run.tokenizer.model, pixels.shape[2:]
    tiling = tiling_for(run, (height, width), tile, look=lambda: pixels[:1])
    if tiling is None:
        codes = model.encode(images_from_pixels(pixels.to(run.device)))
        return pixels_from_images(model.decode(codes[..., :depth])).cpu()
    found = torch.empty_like(pixels)
    for row in range(len(pixels)):
        codes = model.encode(pixels[row : row + 1], tile=tiling.tile, overlap=tiling.overlap)
        found[row : row + 1] = decoded(model, codes[..., :depth], tiling)
    return found
