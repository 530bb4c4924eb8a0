import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.torture.hostile import BAD, ODD, encoded
from tests.torture.hostile import pixels as numbered_pixels

from vqvae.data import BadFile, load
from vqvae.errors import UserError


def _pixels(folder, **options):
    """Load the one image beside the anchor that makes a training split, as [H, W, C]."""
    loaded = load(str(folder), "train", **options)
    assert loaded.bad == ()
    assert len(loaded) == 1
    return loaded.pixels[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "gif", "tif", "tiff", "ppm", "webp"])
def test_lossless_formats_decode_to_their_pixels(tmp_path, picture, suffix):
    # 4 x 4: a GIF holds no more than 256 colours.
    expected = picture(0, 4, 4)
    Image.fromarray(expected).save(tmp_path / f"a.{suffix}", lossless=True)
    assert np.array_equal(_pixels(tmp_path), expected)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_decodes(tmp_path, suffix):
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(_pixels(tmp_path).astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "pgm"])
def test_grey_stays_grey_and_converts_when_asked(tmp_path, picture, suffix):
    expected = picture(0, grey=True)
    Image.fromarray(expected).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(_pixels(tmp_path), expected[:, :, None])
    assert np.array_equal(_pixels(tmp_path, channels=3), expected[:, :, None].repeat(3, axis=2))


def test_colour_becomes_grey_when_asked(tmp_path, picture):
    pixels = picture(0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(_pixels(tmp_path, channels=1)[:, :, 0] - luma).max() <= 1


def test_one_colour_image_makes_the_whole_set_colour(tmp_path, picture, save):
    grey, colour = picture(0, grey=True), picture(1)
    for name, pixels in {"a": grey, "b": grey, "c": colour, "d": grey}.items():
        save(tmp_path / f"train/{name}.png", pixels)
    save(tmp_path / "test/a.png", grey)
    assert load(str(tmp_path), "test").pixels.shape[1] == 1
    wide = grey[:, :, None].repeat(3, axis=2)
    images = load(str(tmp_path), "train").pixels.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images, [wide, wide, colour, wide])


def test_black_and_white(tmp_path):
    bits = np.eye(8, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "a.png")
    assert np.array_equal(_pixels(tmp_path), bits[:, :, None] * np.uint8(255))


def test_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    assert _pixels(tmp_path).tolist() == [[[10, 20, 30], [200, 100, 0]]]


def test_palette_with_a_transparent_entry_shows_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    assert _pixels(tmp_path).tolist() == [[[255, 255, 255], [200, 100, 0]]]


def test_alpha_lies_on_white(tmp_path):
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [9, 8, 7, 255]]], np.uint8), "RGBA")
    image.save(tmp_path / "a.png")
    assert _pixels(tmp_path).tolist() == [[[255, 255, 255], [127, 127, 127], [9, 8, 7]]]


def test_grey_alpha_stays_grey_on_white(tmp_path):
    Image.fromarray(np.array([[[0, 0], [0, 128], [9, 255]]], np.uint8), "LA").save(tmp_path / "a.png")
    assert _pixels(tmp_path).tolist() == [[[255], [127], [9]]]


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_grey_is_scaled(tmp_path, suffix):
    values = np.array([[0, 128, 129, 257], [1000, 32768, 65278, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    expected = np.round(values / 257).astype(np.uint8)
    assert np.array_equal(_pixels(tmp_path)[:, :, 0], expected)


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    assert _pixels(tmp_path)[0, 0].tolist() == [255, 0, 0]


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(_pixels(tmp_path)[0, 0].astype(int) - (0, 255, 0)).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_exif_orientation_turns_the_image(tmp_path, picture, suffix):
    pixels = picture(0, 4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the file
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    expected = np.rot90(pixels, -1)
    assert np.array_equal(_pixels(tmp_path), expected)
    assert np.array_equal(_pixels(tmp_path, fit="crop"), expected)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations_show_their_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert (_pixels(tmp_path) == (255, 0, 0)).all()


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.fixture
def damaged(tmp_path, picture, png):
    """A folder with two good images and one of each kind of damage."""
    whole = png(picture(0, 16, 16))
    jpeg = io.BytesIO()
    Image.fromarray(picture(1, 16, 16)).save(jpeg, "JPEG")
    files = {
        "good1.png": whole,
        "good2.png": png(picture(2, 16, 16)),
        "cut.jpg": jpeg.getvalue()[:-200],
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"this is no image\n",
        "vector.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "bomb.png": _png_header(30_000, 30_000),
        "large.png": _png_header(8_192, 8_193),
    }
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    return tmp_path


def test_what_cannot_be_decoded_is_listed_by_path_and_skipped(damaged, picture):
    loaded = load(str(damaged), "train")
    reasons = {bad.path: bad.reason for bad in loaded.bad}
    cut = [reasons.pop(f"train/cut.{kind}") for kind in ("jpg", "png")]
    assert all(re.match(r"truncated$|broken \(", reason) for reason in cut)  # which, depends on Pillow's words
    assert reasons == {
        "train/bomb.png": "more than 64 megapixels",
        "train/empty.png": "empty file",
        "train/large.png": "more than 64 megapixels",
        "train/text.png": "not an image of a known format",
        "train/vector.jpg": "not an image of a known format",
    }
    assert np.array_equal(loaded.pixels.permute(0, 2, 3, 1).numpy(), [picture(0, 16, 16), picture(2, 16, 16)])
    cropped = load(str(damaged), "train", fit="crop")
    assert [bad.path for bad in cropped.bad] == [bad.path for bad in loaded.bad]
    assert cropped.fingerprint == loaded.fingerprint


@pytest.mark.parametrize("fit", ["strict", "crop"])
def test_strict_stops_at_the_first_bad_file(damaged, fit):
    with pytest.raises(UserError, match=r"^cannot decode train/bomb\.png: more than 64 megapixels; [^\n]*$"):
        load(str(damaged), "train", strict=True, fit=fit)


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tiff")
    with pytest.raises(UserError, match=r"cannot decode float\.tiff, its only image: floating-point pixels"):
        load(str(tmp_path), "train")


def test_a_range_is_refused_where_it_could_not_be_applied(tmp_path):
    (tmp_path / "wide.ppm").write_bytes(b"P6 4 4 4095\n" + bytes(96))  # 12 bits of colour, of which PIL keeps 8
    assert load(str(tmp_path), "train").pixels.shape == (1, 3, 4, 4)
    with pytest.raises(UserError, match=r"colour of 16 bits: --data\.range works on grey alone"):
        load(str(tmp_path), "train", pixel_range=(0, 4095))
    (tmp_path / "wide.ppm").unlink()
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tiff")
    with pytest.raises(UserError, match="auto is for whole numbers, not floating-point pixels"):
        load(str(tmp_path), "train", pixel_range="auto")


def test_links_to_nowhere_are_listed(tmp_path, picture, save):
    save(tmp_path / "train/b.png", picture(0))
    save(tmp_path / "test/b.png", picture(0))
    (tmp_path / "train/a.png").symlink_to(tmp_path / "gone.png")
    assert load(str(tmp_path), "train").bad[0].path == "train/a.png"
    assert isinstance(load(str(tmp_path), "train").bad[0], BadFile)


def test_pil_is_left_as_it_was(damaged):
    before = Image.MAX_IMAGE_PIXELS
    load(str(damaged), "train")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.fixture
def hostile(tmp_path):
    """A folder with a bad image of each kind among good ones, and odd ones that are good."""
    for name in ("train", "test"):
        (tmp_path / name / "directory.png").mkdir(parents=True)
        (tmp_path / name / "directory.png" / "good.png").write_bytes(encoded(0, "PNG"))
        (tmp_path / name / "directory.png" / "around").symlink_to(tmp_path / name)
    for number, (kind, (suffix, make)) in enumerate(BAD.items()):
        make(tmp_path / "train" / f"bad {kind}.{suffix}", number)
    for number, (kind, (suffix, content)) in enumerate(ODD.items()):
        (tmp_path / "train" / f"odd {kind}.{suffix}").write_bytes(content(number))
    return tmp_path


def test_exactly_the_bad_ones_of_all_kinds_are_listed_each_with_a_reason(hostile, capfd):
    loaded = load(str(hostile), "train")
    listed = {bad.path: bad.reason for bad in loaded.bad}
    assert set(listed) == {f"train/bad {kind}.{suffix}" for kind, (suffix, _) in BAD.items()}
    assert len(BAD) >= 20 and all(
        reason and "\n" not in reason and "0x7" not in reason for reason in listed.values()
    )
    assert len(loaded) == 1 + len(ODD)
    printed = capfd.readouterr()
    assert printed.err == printed.out == ""  # not from C either
    assert [bad.path for bad in load(str(hostile), "train", fit="crop", size=(16, 16)).bad] == list(listed)


def test_odd_images_are_decoded_right(hostile):
    loaded = load(str(hostile), "train")
    images = dict(zip(["good", *sorted(ODD)], loaded.pixels.permute(0, 2, 3, 1).numpy(), strict=True))
    for number, kind in enumerate(ODD):
        if kind == "16 bits of colour":
            assert images[kind][0, 0].tolist() == [0, 2, 4]
        elif kind in ("jpeg named png", "broken exif", "progressive"):
            options = {"progressive": True} if kind == "progressive" else {}
            expected = np.asarray(Image.open(io.BytesIO(encoded(number, "JPEG", **options))))
            assert np.array_equal(images[kind], expected), kind
        else:
            assert np.array_equal(images[kind], numbered_pixels(number)), kind


def test_one_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert _pixels(tmp_path).tolist() == [[[1, 2, 3]]]


def test_names_that_no_line_can_show_are_escaped(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for name in (b"a\nb.png", b"\xff.png", b"c.png"):
        with open(os.fsencode(tmp_path) + b"/train/" + name, "wb") as file:
            file.write(encoded(0, "PNG") if name == b"c.png" else b"")
    assert [bad.path for bad in load(str(tmp_path), "train").bad] == ["train/a\\nb.png", "train/\\udcff.png"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read as somebody else and come back")
def test_what_may_not_be_read_is_listed_and_what_may_not_be_entered_stops(tmp_path, picture, save):
    for name in ("train/a/1.png", "train/a/2.png", "test/a/1.png"):
        save(tmp_path / name, picture(0))
    for path in (tmp_path, *[*tmp_path.parents][:3]):  # to the folder of the user, over that of a worker
        path.chmod(0o711)
    tmp_path.chmod(0o755)
    (tmp_path / "train/a/1.png").chmod(0)
    os.seteuid(65534)
    try:
        assert [(bad.path, bad.reason) for bad in load(str(tmp_path), "train").bad] == [
            ("train/a/1.png", "permission denied")
        ]
        os.seteuid(0)
        (tmp_path / "train/a").chmod(0)
        os.seteuid(65534)
        with pytest.raises(UserError, match=r"cannot list .*train/a: Permission denied; "):
            load(str(tmp_path), "train")
    finally:
        os.seteuid(0)
