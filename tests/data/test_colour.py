"""Images have the colours that their profiles mean; pixels of more than 8 bits the range asked for."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from vqvae.data import describe, load, open_stream
from vqvae.errors import UserError


def swapped_profile() -> bytes:
    """Return a profile whose red is what sRGB calls blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"@@@@").replace(b"bXYZ", b"rXYZ").replace(b"@@@@", b"bXYZ")


def read(folder, image, **save):
    folder.mkdir(exist_ok=True)
    image.save(folder / "a.png", **save)
    return load(str(folder), "train").pixels[0].permute(1, 2, 0).numpy()


def test_a_profile_gives_the_colours_that_a_viewer_shows(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert np.abs(read(tmp_path, red, icc_profile=swapped_profile()).astype(int) - (0, 0, 255)).max() <= 2
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (read(tmp_path, clear, icc_profile=swapped_profile()) == 255).all()
    palette = red.convert("P")
    assert np.abs(read(tmp_path, palette, icc_profile=swapped_profile()).astype(int) - (0, 0, 255)).max() <= 2


@pytest.mark.parametrize("profile", ["sRGB", "broken", "empty"])
def test_a_profile_of_srgb_or_none_that_can_be_read_changes_nothing(tmp_path, picture, profile):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = {"sRGB": srgb, "broken": srgb[:200], "empty": b"\0" * 128}[profile]
    pixels = picture(0, 64, 64)
    assert np.array_equal(read(tmp_path, Image.fromarray(pixels), icc_profile=content), pixels)


def test_twelve_bits_in_sixteen_are_said_and_scaled_when_asked(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 8, 8)).astype(np.uint16)
    values[:, 0, 0] = 4095
    for key, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / f"{key:02d}.png")
    line = describe(load(str(tmp_path), "train"))
    assert line.endswith("dark: the brightest pixel is 16 of 255: pass --data.range auto")
    assert "--data.range" in describe(open_stream(str(tmp_path), "train"))
    for opened in (load, open_stream):
        images = opened(str(tmp_path), "train", pixel_range="auto")
        assert images.pixel_range == (0, 4095)
        assert images.some(20).max() == 255
        assert "dark" not in describe(images)
    clipped = load(str(tmp_path), "train", pixel_range=(1000, 2000)).pixels
    assert {0, 255} <= set(clipped.unique().tolist())


def test_floats_and_32_bits_are_read_with_a_range(tmp_path):
    values = np.linspace(0, 2, 64, dtype=np.float32).reshape(8, 8)
    for key in range(2):
        Image.fromarray(values).save(tmp_path / f"{key}.tiff")
    with pytest.raises(UserError, match=r"floating-point pixels have no known range: pass --data\.range MIN,MAX"):
        load(str(tmp_path), "train")
    pixels = load(str(tmp_path), "train", pixel_range=(0, 2)).pixels[0, 0].numpy()
    assert np.array_equal(pixels, np.rint(values * 127.5).astype(np.uint8))
    with pytest.raises(UserError, match="range 2,0: the first value must be the smaller one"):
        load(str(tmp_path), "train", pixel_range=(2, 0))


def test_images_that_are_all_the_same_are_said_and_have_a_variance_to_divide_by():
    for value in (0, 9, 255):
        images = load(np.full((20, 8, 8, 3), value, np.uint8))
        assert describe(images).endswith(f"all images are the same: every pixel is {value} of 255")
        assert images.pixel_variance == 1
    assert "same" not in describe(load(np.arange(256, dtype=np.uint8).reshape(4, 8, 8)))


def test_8_bit_images_take_no_notice_of_a_range(picture):
    pixels = np.stack([picture(key) for key in range(4)])
    assert load(pixels, pixel_range=(0, 15)).fingerprint == load(pixels).fingerprint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "a Git LFS pointer, not the file itself",
        ),
        (b"\n<!DOCTYPE html><html>", "an HTML page, not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "a broken AVIF|AVIF: install Pillow 11.3 or newer"),
    ],
)
def test_what_a_file_is_instead_of_an_image_is_named(tmp_path, content, reason):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        load(str(tmp_path), "train")


def test_a_grey_stream_refuses_colour_that_comes_late(tmp_path, picture, save):
    for key in range(1200):
        save(tmp_path / f"{key:04d}.png", picture(key, 4, 4, grey=True))
    asked = set(np.unique(np.linspace(0, 1139, 1000).astype(int)).tolist())
    names = [item.name for item in open_stream(str(tmp_path), "train").source.items(np.arange(1140))]
    unseen = names[next(row for row in range(1140) if row not in asked)]
    save(tmp_path / unseen, picture(0, 4, 4))
    stream = open_stream(str(tmp_path), "train")
    assert stream.shape[0] == 1
    with pytest.raises(UserError, match=f"image {unseen} is in colour, but the first ones are grey"):
        list(stream.iter_batches())
    save(tmp_path / names[-1], picture(0, 4, 4))
    assert open_stream(str(tmp_path), "train").shape[0] == 3
