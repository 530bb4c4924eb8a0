"""Colour images in a grey set: nothing becomes grey without a word."""

import numpy as np
import pytest
from PIL import Image

from vqvae.config import DataConfig
from vqvae.data import describe, load, open_stream


@pytest.fixture
def mixed(tmp_path):
    """Return a folder whose training images are grey, one of them saved as RGB, and whose test images are not."""
    rng = np.random.default_rng(0)
    for row in range(8):
        grey = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        colour = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for split, pixels in (("train", grey), ("val", colour if row < 3 else grey), ("test", colour)):
            (tmp_path / split).mkdir(exist_ok=True)
            image = Image.fromarray(pixels)
            (image.convert("RGB") if (split, row) == ("train", 0) else image).save(tmp_path / split / f"{row}.png")
    return tmp_path


def test_colour_images_that_become_grey_are_counted_in_the_line_of_their_split(mixed):
    train = load(str(mixed), channels=1)
    assert "made grey" not in describe(train), "no colour is lost where red, green and blue are equal"
    validation = DataConfig(spec=str(mixed)).as_read(train).load("validation", multiple_of=1)
    assert validation.shape == (1, 8, 8)
    assert describe(validation).endswith("; made grey: 3 in colour")
    assert describe(load(str(mixed), "test", channels=1)).endswith("; made grey: 8 in colour")
    assert "made grey" not in describe(load(str(mixed), "test"))


def test_a_stream_counts_them_by_their_headers(mixed):
    stream = open_stream(str(mixed), "test", channels=1)
    assert describe(stream, look=False).endswith("; made grey: at least 8 in colour")
    assert "made grey" not in describe(open_stream(str(mixed), "test"), look=False)


def test_the_grey_of_a_colour_image_is_that_of_pillow(mixed):
    images = load(str(mixed), "test", channels=1)
    for name, pixels in zip(images.names, images.pixels, strict=True):
        with Image.open(mixed / "test" / name.rpartition("/")[2]) as image:
            assert np.array_equal(np.asarray(image.convert("L")), pixels[0].numpy())


def test_transparent_colour_lies_on_white_before_it_is_grey(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (200, 10, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = load(str(tmp_path), channels=1)
    assert (images.pixels[0, 0, 4:] == 255).all()
    assert (images.pixels[0, 0, :4] == Image.new("RGB", (1, 1), (200, 10, 30)).convert("L").getpixel((0, 0))).all()
