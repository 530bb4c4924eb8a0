"""One encoded image in, one upright 8-bit image out: grey or RGB, never anything else."""

import logging
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vqvae.data.source import Content

# Everything else that PIL can open has a decoder that few people test: not for files of unknown origin.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MAX_PIXELS = 64 * 2**20
_MAX_BYTES = 512 * 2**20  # 8 bytes, two for each of four channels, for every pixel
_ORIENTATION = 0x0112
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


def decode(content: Content, channels: int | None) -> Image.Image:
    """Decode one image: first frame, upright, on white where transparent.

    Args:
        content: a file, the bytes of an encoded image, or raw pixels, uint8 [H, W, 3].
        channels: 1 for grey, 3 for RGB, None for grey where the file is grey and RGB otherwise.

    Returns:
        An image of mode "L" or "RGB".

    Raises:
        UndecodableError: for whatever is not an image of a known format and a sane size.
    """
    if isinstance(content, np.ndarray):
        return _to_channels(Image.fromarray(content), channels)
    # PIL's decoders raise whatever the broken bytes lead them to (OSError, SyntaxError, struct.error, ...).
    try:
        with _open(BytesIO(_read(content))) as image:
            image.load()
            turn = _TURNS.get(_orientation(image))
            return _to_channels(image if turn is None else image.transpose(turn), channels)
    except UndecodableError:
        raise
    except Exception as error:
        raise UndecodableError(_reason(error)) from error


def measure(content: Content) -> tuple[int, int] | None:
    """Return (height, width) as the header tells them, or None where it tells nothing. Decodes no pixel."""
    if isinstance(content, np.ndarray):
        return content.shape[0], content.shape[1]
    try:
        with _open(content if isinstance(content, Path) else BytesIO(content)) as image:
            width, height = image.size
            # A PNG without the tag in its header would be decoded in search of one.
            turned = "exif" in image.info and _orientation(image) >= 5
            return (width, height) if turned else (height, width)
    except Exception:
        return None


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
            raise UndecodableError("not a regular file")
        if content.stat().st_size > _MAX_BYTES:
            raise UndecodableError(f"more than {_MAX_BYTES // 2**20} megabytes")
        content = content.read_bytes()
    if not content:
        raise UndecodableError("empty file")
    return content


def _open(stream: Path | BytesIO) -> Image.Image:
    too_large = f"more than {_MAX_PIXELS // 2**20} megapixels"
    try:
        image = Image.open(stream, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise UndecodableError(too_large) from error
    if image.width * image.height > _MAX_PIXELS:
        image.close()
        raise UndecodableError(too_large)
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, PermissionError):
        return "permission denied"
    text = re.sub(r"0x[0-9a-f]{4,}", "0x...", " ".join(str(error).split()))  # no addresses: they differ each time
    return "truncated" if "truncated" in text.lower() else f"broken ({text[:60] or type(error).__name__})"


def _to_channels(image: Image.Image, channels: int | None) -> Image.Image:
    image = _to_8_bits(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    wanted = "L" if channels == 1 or (channels is None and grey) else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; ``convert("L")`` would clip it at 255."""
    if image.mode == "F":
        raise UndecodableError("floating-point pixels have no known range")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UndecodableError("32-bit pixels have no known range")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
