"""Show images above their reconstructions."""

from collections.abc import Sequence

from PIL import Image

from vqvae.commands.resolve import images_named
from vqvae.model_io import choose_device, load_tokenizer
from vqvae.report.pictures import pairs
from vqvae.tensors import images_from_pixels, pixels_from_images


def reconstruction_picture(path: str, names: Sequence[str], *, device: str = "auto") -> Image.Image:
    """Lay images out above their reconstructions.

    Args:
        path: a run directory with a tokenizer.
        names: image files, or one data spec, of whose test split the first 32 images are shown.
        device: where to run.

    Raises:
        UserError: for a path that is no run, or images that do not fit.
    """
    on = choose_device(device)
    tokenizer = load_tokenizer(path, device=on)
    pixels = images_named(path, tokenizer, names)
    codes = tokenizer.encode(images_from_pixels(pixels.to(on)))
    return pairs(pixels, pixels_from_images(tokenizer.decode(codes)).cpu())
