"""Colour profiles: images are converted to sRGB, so that they have the colours that a viewer shows."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

_PROFILED_MODES = ("RGB", "RGBA", "CMYK")


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image from the colour profile that its file embeds to sRGB.

    An image is not changed if it has no profile, a broken one or that of sRGB, or if it is grey.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image
    if image.mode in ("P", "PA") or (image.mode == "RGB" and image.has_transparency_data):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode not in _PROFILED_MODES:
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    try:
        return transform.apply(image)
    except (ImageCms.PyCMSError, ValueError, OSError):  # the profile is broken, but the pixels are not
        return image


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB, or None if it changes nothing or the profile is broken."""
    output = "RGB" if mode == "CMYK" else mode
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(embedded, _srgb(), mode, output)
        if output != mode:
            return transform
        before = _colours().convert(mode)
        after = transform.apply(before)
    except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
        return None
    pairs = zip(before.tobytes(), after.tobytes(), strict=True)
    # most profiles are sRGB under some name: their transform would only round
    return transform if any(abs(a - b) > 2 for a, b in pairs) else None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _colours() -> Image.Image:
    """Return an image with colours from the whole RGB cube."""
    levels = (0, 32, 64, 128, 192, 255)
    colours = bytes(value for r in levels for g in levels for b in levels for value in (r, g, b))
    return Image.frombytes("RGB", (len(levels) ** 2, len(levels)), colours)
