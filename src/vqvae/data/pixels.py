"""Arrays of pixels: which axis holds the channels."""

from typing import Any

from numpy.typing import NDArray

from vqvae.errors import UserError

_CHANNELS = (1, 3, 4)


def channels_last(pixels: NDArray[Any], where: str = "") -> NDArray[Any]:
    """Return pixels as [N, H, W] or [N, H, W, C], a view; grey ones without an axis of channels.

    Args:
        pixels: [N, H, W, C], [N, C, H, W] or [N, H, W].
        where: the file or array, for errors.

    Raises:
        UserError: for a shape that is none of these, or that could be two of them.
    """
    if pixels.ndim == 3:
        return pixels
    shape, begins = pixels.shape, f"{where}: " if where else ""
    last, first = len(shape) == 4 and shape[3] in _CHANNELS, len(shape) == 4 and shape[1] in _CHANNELS
    if last and first:
        raise UserError(
            f"{begins}pixels {list(shape)}: axis 1 and axis 3 could both be the channels; pass [N, H, W] where "
            "images are grey, or images of another size"
        )
    if not last and not first:
        raise UserError(
            f"{begins}pixels {list(shape)}: expected [N, H, W, C], [N, C, H, W] or [N, H, W], 1, 3 or 4 channels"
        )
    pixels = pixels if last else pixels.transpose(0, 2, 3, 1)
    return pixels[..., 0] if pixels.shape[3] == 1 else pixels
