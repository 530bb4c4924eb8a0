"""A folder of images, some of them bad."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of 42 images in two classes, of which three are bad."""
    folder = tmp_path / "pictures"
    for row in range(42):
        kind = folder / "train" / ("cats" if row < 20 else "dogs")
        kind.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(kind / f"{row:02}.png")
    for name in ("cats/03", "cats/04", "dogs/41"):
        (folder / "train" / f"{name}.png").write_bytes(b"no image")
    (folder / "test" / "cats").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "test" / "cats" / "0.png")
    return folder
