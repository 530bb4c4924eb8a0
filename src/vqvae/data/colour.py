"""Colour profiles: an image is read with the colours that a viewer shows."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

_PROFILED_MODES = ("RGB", "RGBA", "CMYK")


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image from the colour profile that its file embeds to sRGB.

    An image without a profile, with a broken one, or in grey stays as it is; so does one whose profile is sRGB's.
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
    except (ImageCms.PyCMSError, ValueError, OSError):  # the pixels are whole, whatever the profile says
        return image


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform of a profile to sRGB, or None where it changes nothing or the profile is broken."""
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
    # most profiles are sRGB's under many names: such a pass would only round
    return transform if any(abs(a - b) > 2 for a, b in pairs) else None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _colours() -> Image.Image:
    """Return colours from all over the cube, a pixel each."""
    levels = (0, 32, 64, 128, 192, 255)
    colours = bytes(value for r in levels for g in levels for b in levels for value in (r, g, b))
    return Image.frombytes("RGB", (len(levels) ** 2, len(levels)), colours)
