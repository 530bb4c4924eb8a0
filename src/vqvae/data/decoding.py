"""One encoded image in, one upright 8-bit image out: grey or RGB, never anything else."""

import logging
import os
import re
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, UnidentifiedImageError

from vqvae.data.colour import to_srgb
from vqvae.data.formats import brand_of, heif_formats, plain_formats, why_unread
from vqvae.data.source import Content

# The values that become 0 and 255, for pixels of more than 8 bits.
PixelRange = tuple[float, float]

_MAX_PIXELS = 64 * 2**20
_MAX_BYTES = 512 * 2**20  # 8 bytes, two for each of four channels, for every pixel
_ORIENTATION = 0x0112
_GREY = ("1", "L", "LA", "La", "I", "F")
_KNOWN_RANGES = ("uint8", "uint16", "int16")
_ADVICE = ": pass --data.range MIN,MAX"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodableError(Exception):
    """This content is no image that can be read; the message says why in a few words."""


@contextmanager
def quiet_pil() -> Generator[None, None, None]:
    """Silence PIL's warnings about odd files: what cannot be read is reported by name instead.

    Enter it in the main thread, around the worker threads: warning filters are global to the process.
    """
    log = logging.getLogger("PIL")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        log.setLevel(before)


def decode(content: Content, channels: int | None, pixel_range: PixelRange | None = None) -> Image.Image:
    """Decode one image: first frame, upright, on white where transparent, in sRGB.

    Args:
        content: a file, the bytes of an encoded image, a PIL image, or pixels [H, W], [H, W, 3] or [H, W, 4].
        channels: 1 for grey, 3 for RGB, None for grey where the file is grey and RGB otherwise.
        pixel_range: the values that become 0 and 255, for pixels of more than 8 bits; None for 0 and 65535 where
            they have 16 bits.

    Returns:
        An image of mode "L" or "RGB".

    Raises:
        UndecodableError: for whatever is not an image of a known format and a sane size.
    """
    if isinstance(content, np.ndarray):
        return _to_channels(_from_array(content, pixel_range), channels)
    # PIL's decoders raise whatever the broken bytes lead them to (OSError, SyntaxError, struct.error, ...).
    try:
        with _opened(content if isinstance(content, Image.Image) else _read(content)) as image:
            if pixel_range is not None and _is_wide_colour(image):
                raise UndecodableError("colour of 16 bits: --data.range works on grey alone")
            image.load()
            turn = _TURNS.get(_orientation(image))
            upright = image if turn is None else image.transpose(turn)
            return _to_channels(to_srgb(_to_8_bits(upright, pixel_range)), channels)
    except UndecodableError:
        raise
    except Exception as error:
        raise UndecodableError(kind_of(content) or _reason(error)) from error


def stores(content: Content, image: Image.Image) -> bool:
    """Say whether an image has exactly the pixels that a content stores: 8 bits of grey or RGB, in one frame.

    Args:
        content: a file, the bytes of an encoded image, a PIL image or an array.
        image: the image that ``decode`` returned for the content. Transparency, a rotation or a colour profile may
            have changed the pixels.
    """
    if isinstance(content, np.ndarray):
        return content.dtype == np.uint8 and np.array_equal(content, np.asarray(image))
    with _opened(content) as stored:
        one = stored.mode in ("L", "RGB") and getattr(stored, "n_frames", 1) == 1
        whole = one and not stored.has_transparency_data and not _is_wide_colour(stored)
        return whole and np.array_equal(np.asarray(stored), np.asarray(image))


def to_grey(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return a decoded image, of mode "L" or "RGB", in grey, and whether colour is lost."""
    if image.mode == "L":
        return image, False
    red, green, blue = image.split()
    lost = any(ImageChops.difference(red, other).getbbox() is not None for other in (green, blue))
    return image.convert("L"), lost


def measure(content: Content) -> tuple[int, int] | None:
    """Return (height, width) as the header tells them, or None where it tells nothing. Decodes no pixel."""
    if isinstance(content, np.ndarray):
        return content.shape[0], content.shape[1]
    try:
        with _opened(content) as image:
            width, height = image.size
            # A PNG without the tag in its header would be decoded in search of one.
            turned = "exif" in image.info and _orientation(image) >= 5
            return (width, height) if turned else (height, width)
    except Exception:
        return None


def is_grey(content: Content) -> bool | None:
    """Tell from the header whether an image is grey; None where it tells nothing. Decodes no pixel."""
    if isinstance(content, np.ndarray):
        return content.ndim == 2
    try:
        with _opened(content) as image:
            return image.mode in _GREY or image.mode.startswith("I;16")
    except Exception:
        return None


def is_float(content: Content) -> bool:
    """Tell from the header whether pixels are floating-point numbers. Decodes no pixel."""
    if isinstance(content, np.ndarray):
        return content.dtype.kind == "f"
    try:
        with _opened(content) as image:
            return image.mode == "F"
    except Exception:
        return False


def _is_wide_colour(image: Image.Image) -> bool:
    """Tell whether a file stores more than 8 bits per colour; PIL keeps 8. Call it before ``image.load()``."""
    # the arguments of PIL's decoder, such as "RGB;16B" for PNG and ("RGB", 1023) for PPM
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    largest = [word for each in arguments if isinstance(each, tuple) for word in each if isinstance(word, int)]
    wide_ppm = image.format == "PPM" and max(largest, default=0) > 255
    return image.mode in ("RGB", "RGBA") and (";16" in str(arguments) or wide_ppm)


def _orientation(image: Image.Image) -> int:
    """Return which way up the image is to be shown; 1, as it lies, where its EXIF is broken or does not say."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as many kinds as there are ways to break it; the pixels are whole
        return 1
    return orientation if isinstance(orientation, int) else 1


def _read(content: Path | bytes) -> bytes:
    if isinstance(content, Path):
        if not content.is_file():  # a dangling link, or a pipe that would block for ever
            raise UndecodableError("not a regular file" if os.path.lexists(content) else "no such file")
        if content.stat().st_size > _MAX_BYTES:
            raise UndecodableError(f"more than {_MAX_BYTES // 2**20} megabytes")
        content = content.read_bytes()
    if not content:
        raise UndecodableError("empty file")
    return content


def _opened(content: Path | bytes | Image.Image) -> AbstractContextManager[Image.Image]:
    if isinstance(content, Image.Image):
        return nullcontext(content)
    return _open(content if isinstance(content, Path) else BytesIO(content))


def _open(stream: Path | BytesIO) -> Image.Image:
    too_large = f"more than {_MAX_PIXELS // 2**20} megapixels"
    try:
        image = _identified(stream)
    except Image.DecompressionBombError as error:
        raise UndecodableError(too_large) from error
    if image.width * image.height > _MAX_PIXELS:
        image.close()
        raise UndecodableError(too_large)
    return image


def _identified(stream: Path | BytesIO) -> Image.Image:
    try:
        return Image.open(stream, formats=plain_formats())
    except UnidentifiedImageError:
        # the extra's module is imported for such a file alone
        head = stream.getbuffer()[:64].tobytes() if isinstance(stream, BytesIO) else _head(stream)
        if brand_of(head) not in ("HEIC", "HEIF") or not heif_formats():
            raise
        return Image.open(stream, formats=heif_formats())


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, PermissionError):
        return "permission denied"
    text = re.sub(r"0x[0-9a-f]{4,}", "0x...", " ".join(str(error).split()))  # no addresses: they differ each time
    return "truncated" if "truncated" in text.lower() else f"broken ({text[:60] or type(error).__name__})"


def _to_channels(image: Image.Image, channels: int | None) -> Image.Image:
    grey = image.mode in _GREY
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    wanted = "L" if channels == 1 or (channels is None and grey) else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _to_8_bits(image: Image.Image, pixel_range: PixelRange | None) -> Image.Image:
    """Scale grey of 16 bits, 32 bits or floats to 8 bits; ``convert("L")`` would clip it at 255."""
    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray(_scaled(np.asarray(image), pixel_range))


def _from_array(pixels: NDArray[Any], pixel_range: PixelRange | None) -> Image.Image:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    if (
        pixel_range is None
        and pixels.dtype.kind in "iu"
        and pixels.dtype.newbyteorder("=").name not in _KNOWN_RANGES
    ):
        # most of them hold 0..255; the range of 16 bits would make them black
        raise UndecodableError(f"{pixels.dtype} pixels have no known range: pass --data.range auto or MIN,MAX")
    if pixels.dtype != np.uint8:
        pixels = _scaled(pixels, pixel_range)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _scaled(values: NDArray[Any], pixel_range: PixelRange | None) -> NDArray[np.uint8]:
    """Return values of more than 8 bits as uint8."""
    if pixel_range is not None:
        low, high = pixel_range
        share = (values.astype(np.float64) - low) / (high - low)
        if not np.isfinite(share).all():
            raise UndecodableError("pixels that are not finite")
        return np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    if values.dtype.kind not in "iu":
        raise UndecodableError(f"floating-point pixels have no known range{_ADVICE}")
    values = values.astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise UndecodableError(f"32-bit pixels have no known range{_ADVICE}")
    return ((values + 128) // 257).astype(np.uint8)


def brightest(content: Content) -> float | None:
    """Return the largest value of an image whose pixels have more than 8 bits; None for any other image."""
    try:
        if isinstance(content, np.ndarray):
            return float(content.max()) if content.dtype.itemsize > 1 else None
        with _opened(content) as image:
            wide = image.mode in ("F", "I") or image.mode.startswith("I;16")
            return float(np.asarray(image).max()) if wide else None
    except Exception:  # decode says why
        return None


def kind_of(content: Content) -> str | None:
    """Say what a file is that is not an image of a known format, where its first bytes tell."""
    if isinstance(content, np.ndarray | Image.Image):
        return None
    try:
        head = content[:64] if isinstance(content, bytes) else _head(content)
    except OSError:
        return None
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself: run git lfs pull"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image"
    brand = brand_of(head)
    return None if brand is None else why_unread(brand)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
