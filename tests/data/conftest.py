"""Helpers that several test files of this room share."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture():
    """Return distinct, reproducible pixels, uint8 [H, W, 3] or [H, W]."""

    def make(key: int, height: int = 8, width: int = 8, *, grey: bool = False) -> np.ndarray:
        shape = (height, width) if grey else (height, width, 3)
        return np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def save():
    """Write pixels losslessly to a path, making its folders."""

    def write(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write


@pytest.fixture
def png():
    """Return pixels as the bytes of a PNG."""

    def encode(pixels: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return encode
