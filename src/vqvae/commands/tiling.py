"""Decide whether images are run in tiles, and say in one line what the tiles do to them."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from vqvae.commands.resolve import TokenizerRun
from vqvae.errors import ArgumentError
from vqvae.models import VQVAE
from vqvae.models.encode_exact import ExactCodes
from vqvae.models.tiles import Reach, decoder_reach, encode_in_tiles, encoder_reach, pixels_in_tiles
from vqvae.screen import say
from vqvae.tensors import images_from_pixels, pixels_from_images

LARGE = 2**21  # pixels of an image, above which it is run in tiles
TILE = 512  # side of a tile, in pixels


class Tiling(NamedTuple):
    """How images are run in tiles.

    Attributes:
        tile: side of a tile, in pixels.
        overlap: pixels around a tile, where tiles only approximate; None for as many as the network needs.
    """

    tile: int
    overlap: int | None


def tiling_for(
    run: TokenizerRun, size: tuple[int, int], tile: int | None, *, look: Callable[[], Tensor] | None
) -> Tiling | None:
    """Choose the tiles for images of one size, and say so in one line; None to run them whole.

    The line says whether the tiles equal the whole. If they only approximate it, the line says by how much, on a
    part of the first image that is half as large again as a tile.

    Args:
        run: the tokenizer.
        size: (H, W) of the images, in pixels.
        tile: side of the tiles, in pixels; None for 512 if the images have more than 2 megapixels; 0 for no tiles.
        look: returns the first image, uint8 [1, C, H, W]; None to measure nothing, where there are codes alone.

    Raises:
        ArgumentError: for a tile smaller than the downsampling factor.
    """
    model = run.tokenizer.model
    if tile is not None and tile and tile < model.factor:
        raise ArgumentError("tile", f"{tile}: must be {model.factor} or more, or 0 for no tiles")
    if tile is None:
        tile = TILE if size[0] * size[1] > LARGE else 0
    tile = tile // model.factor * model.factor
    if not tile or max(size) <= tile:
        return None
    where = f"images of {size[0]}x{size[1]} are run in tiles of {tile}x{tile} pixels"
    reaches = encoder_reach(model), decoder_reach(model)
    if reaches[0] is not None and reaches[1] is not None:
        most = max(max(reach) for reach in reaches if reach is not None) * model.factor
        say(f"{where}, up to {most} pixels beyond each: the codes are those of the whole image")
        return Tiling(tile, None)
    overlap = tile // 4
    tiling = Tiling(tile, overlap)
    how_far = "" if look is None else _error(run, tiling, look())
    say(f"{where}, {overlap} pixels beyond each. They approximate {_what_is_global(*reaches)}{how_far}")
    return tiling


def _what_is_global(encoder: Reach | None, decoder: Reach | None) -> str:
    names = [name for name, reach in (("encoder", encoder), ("decoder", decoder)) if reach is None]
    verb = "looks" if len(names) == 1 else "look"
    return f"this tokenizer, whose {' and '.join(names)} {verb} at the whole image"


def _error(run: TokenizerRun, tiling: Tiling, pixels: Tensor) -> str:
    """Return how far tiles are from the whole, in words, on a part of an image."""
    model = run.tokenizer.model
    side = (tiling.tile + tiling.tile // 2) // model.factor * model.factor
    image = pixels[:1, :, :side, :side].to(run.device)
    whole, tiled = model.encode(image), model.encode(image, tile=tiling.tile, overlap=tiling.overlap)
    share = float((whole != tiled).float().mean())
    levels = (decoded(model, whole, None).int() - decoded(model, tiled, tiling).int()).abs().float()
    return (
        f": on {image.shape[2]}x{image.shape[3]} pixels, {100 * share:.2g} % of the codes differ, and pixels by "
        f"{float(levels.mean()):.2g} levels of 255 on average, {int(levels.max())} at most"
    )


def decoded(model: VQVAE, codes: Tensor, tiling: Tiling | None) -> Tensor:
    """Return the pixels of codes, uint8 [B, C, H, W], on the CPU."""
    if tiling is None:
        return pixels_from_images(model.decode(codes)).cpu()
    return pixels_in_tiles(model, codes, tile=tiling.tile, overlap=tiling.overlap)


def encoded_exactly(model: VQVAE, pixels: Tensor, tiling: Tiling | None) -> ExactCodes:
    """Return the exact codes of pixels, uint8 [B, C, H, W], and the number of near-ties."""
    device = model.pixel_variance.device
    if tiling is None:
        return model.encode_exact(images_from_pixels(pixels.to(device)))
    return encode_in_tiles(model, pixels, tile=tiling.tile, overlap=tiling.overlap, exact=True)
