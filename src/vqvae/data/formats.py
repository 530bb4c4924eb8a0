"""The formats of image files that are read: what PIL reads safely, and HEIC through the extra ``heif``."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from PIL import features

# Everything else that PIL can open has a decoder that few people test: not for files of unknown origin.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BRANDS = {
    "heic": "HEIC",
    "heix": "HEIC",
    "hevc": "HEIC",
    "mif1": "HEIF",
    "msf1": "HEIF",
    "avif": "AVIF",
    "avis": "AVIF",
}


@cache
def plain_formats() -> tuple[str, ...]:
    """Return the formats that PIL reads by itself; AVIF is one from Pillow 11.3 on, where it was built in."""
    return (*_FORMATS, "AVIF") if "avif" in features.modules and features.check("avif") else _FORMATS


@cache
def heif_formats() -> tuple[str, ...]:
    """Return the format of HEIC files where the extra ``heif`` is installed, and make PIL know it."""
    if find_spec("pillow_heif") is None:
        return ()
    import_module("pillow_heif").register_heif_opener()
    return ("HEIF",)


def brand_of(head: bytes) -> str | None:
    """Return HEIC, HEIF or AVIF by a file's first bytes; "a video or an image" of their family; else None."""
    if head[4:8] != b"ftyp":
        return None
    return _BRANDS.get(head[8:12].decode("ascii", "replace"), "a video or an image")


def why_unread(brand: str) -> str:
    """Say why a file of a brand cannot be read, and how to mend it."""
    convert = "convert it to PNG or JPEG"
    if brand in ("HEIC", "HEIF"):
        return (
            f"a broken {brand}" if heif_formats() else f"{brand}: pip install 'vqvae-toolkit[heif]', or {convert}"
        )
    if brand == "AVIF":
        return (
            "a broken AVIF" if "AVIF" in plain_formats() else f"AVIF: install Pillow 11.3 or newer, or {convert}"
        )
    return f"{brand}, which is not read: {convert}"
