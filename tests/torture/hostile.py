"""Bad images of twenty kinds, and good ones that look bad."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Make = Callable[[Path, int], None]


def pixels(key: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(key).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(key: int, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(key)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, colour: int = 2, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def _write(content: Callable[[int], bytes]) -> Make:
    return lambda path, key: path.write_bytes(content(key)) and None


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def _loop(path: Path, key: int) -> None:
    other = path.with_name(f".loop-{key}{path.suffix}")
    other.symlink_to(path)
    path.symlink_to(other)


def _bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


# kind -> suffix, how to make one at a path
BAD: dict[str, tuple[str, Make]] = {
    "empty": ("png", lambda path, key: path.touch()),
    "text": ("png", _write(lambda key: b"this is no image\n")),
    "web page": ("jpg", _write(lambda key: b"<!DOCTYPE html><html><body>404</body></html>")),
    "png cut": ("png", _write(lambda key: encoded(key, "PNG")[:300])),
    "png header alone": ("png", _write(lambda key: encoded(key, "PNG")[:20])),
    "png checksum": ("png", _write(lambda key: _flipped(encoded(key, "PNG"), 30))),
    "png data broken": ("png", _write(lambda key: _flipped(encoded(key, "PNG"), 60))),
    "png bomb": ("png", _write(lambda key: png(30_000, 30_000, chunk(b"IDAT", zlib.compress(bytes(10**6)))))),
    "png above the cap": ("png", _write(lambda key: png(8_192, 8_193, chunk(b"IDAT", zlib.compress(b""))))),
    "png of no width": ("png", _write(lambda key: png(0, 16, chunk(b"IDAT", zlib.compress(b""))))),
    "png without data": ("png", _write(lambda key: png(16, 16))),
    "jpeg cut": ("jpg", _write(lambda key: encoded(key, "JPEG")[:-200])),
    "jpeg header alone": ("jpg", _write(lambda key: encoded(key, "JPEG")[:100])),
    "gif cut": ("gif", _write(lambda key: encoded(key, "GIF")[:50])),
    "bmp of huge size": ("bmp", _write(lambda key: _bmp_of(2**30, 2**30))),
    "tiff cut": ("tiff", _write(lambda key: encoded(key, "TIFF")[:200])),
    "webp cut": ("webp", _write(lambda key: encoded(key, "WEBP")[:80])),
    "ppm of huge size": ("ppm", _write(lambda key: b"P6 100000 100000 255\n" + bytes(100))),
    "other format": ("png", _write(lambda key: encoded(key, "ICO"))),
    "vector": ("jpg", _write(lambda key: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    "link to nowhere": ("png", lambda path, key: path.symlink_to(path.with_name(".gone"))),
    "links in a circle": ("png", _loop),
    "pipe": ("png", lambda path, key: os.mkfifo(path)),
    "device": ("png", lambda path, key: path.symlink_to("/dev/zero")),
}


def _with_exif(key: int) -> bytes:
    content = encoded(key, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 40)
    return content


# good images that must be decoded all the same: suffix, bytes
ODD: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "png named jpg": ("jpg", lambda key: encoded(key, "PNG")),
    "jpeg named png": ("png", lambda key: encoded(key, "JPEG")),
    "broken exif": ("jpg", _with_exif),
    "broken profile": ("png", lambda key: encoded(key, "PNG", icc_profile=b"\xff" * 99)),
    "progressive": ("jpg", lambda key: encoded(key, "JPEG", progressive=True)),
    "text that inflates": (
        "png",
        lambda key: (
            (whole := encoded(key, "PNG"))[:33]
            + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**19)))
            + whole[33:]
        ),
    ),
    "16 bits of colour": (
        "png",
        lambda key: png(
            16,
            16,
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(range(96)) for _ in range(16)))),
            depth=16,
        ),
    ),
    "trailing bytes": ("png", lambda key: encoded(key, "PNG") + b"and so on" * 99),
}
