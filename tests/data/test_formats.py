"""Phones' formats: AVIF where Pillow reads it, HEIC through an extra, and one line where either is missing."""

import io

import numpy as np
import pytest
from PIL import Image, features

from vqvae.data import formats, load
from vqvae.errors import UserError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def gradient():
    across, down = np.meshgrid(np.linspace(0, 255, 48), np.linspace(0, 255, 32))
    return np.stack([across, down, np.full_like(down, 90)], -1).astype(np.uint8)


def _saved(path, pixels, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=95)
    path.write_bytes(stream.getvalue())


@pytest.fixture
def unread(monkeypatch):
    """Make the machine one without the extra and with an older Pillow."""
    formats.plain_formats.cache_clear()
    formats.heif_formats.cache_clear()
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    monkeypatch.delitem(features.modules, "avif", raising=False)
    yield
    formats.plain_formats.cache_clear()
    formats.heif_formats.cache_clear()


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_images_of_phones(tmp_path, gradient, kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif "AVIF" not in formats.plain_formats():
        pytest.skip("this Pillow was built without AVIF")
    suffix = {"AVIF": "avif", "HEIF": "heic"}[kind]
    for name in ("train/a", "test/b"):
        _saved(tmp_path / f"{name}.{suffix}", gradient, kind)
    images = load(str(tmp_path))
    assert not images.bad
    difference = np.abs(images.pixels[0].permute(1, 2, 0).numpy().astype(int) - gradient)
    assert difference.mean() < 3
    assert images.shape == (3, 32, 48)
    (tmp_path / "train" / f"a.{suffix}").write_bytes((tmp_path / "test" / f"b.{suffix}").read_bytes()[:200])
    with pytest.raises(UserError, match=f"a broken {'HEIC' if kind == 'HEIF' else 'AVIF'}"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEIC, r"HEIC: pip install 'vqvae-toolkit\[heif\]', or convert it to PNG or JPEG$"),
        (HEIC.replace(b"heic", b"avif"), r"AVIF: install Pillow 11\.3 or newer, or convert it to PNG or JPEG$"),
        (HEIC.replace(b"heic", b"isom"), r"a video or an image, which is not read: convert it to PNG or JPEG$"),
    ],
)
def test_what_is_missing_is_named(tmp_path, unread, content, says):
    for name in ("IMG_1.HEIC", "IMG_2.HEIC"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^[^\n]*IMG_\d\.HEIC[^\n]*{says}"):
        load(str(tmp_path))
