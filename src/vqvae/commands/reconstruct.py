"""Show images above their reconstructions."""

from collections.abc import Sequence

from PIL import Image

from vqvae.commands.resolve import TokenizerRun, images_named
from vqvae.report.pictures import pairs
from vqvae.tensors import images_from_pixels, pixels_from_images


def reconstruction_picture(run: TokenizerRun, names: Sequence[str]) -> Image.Image:
    """Lay images out above their reconstructions.

    Args:
        run: the tokenizer.
        names: image files, or one data set, whose first 32 test images are shown.

    Raises:
        UserError: for images that do not fit.
    """
    pixels = images_named(run, names)
    codes = run.tokenizer.model.encode(images_from_pixels(pixels.to(run.device)))
    return pairs(pixels, pixels_from_images(run.tokenizer.model.decode(codes)).cpu())
