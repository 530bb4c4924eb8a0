from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.shared_data import CIFAR10, needs_cifar10

from vqvae.data import ImageSet, is_data_file, load
from vqvae.errors import UserError


@pytest.fixture
def sized(tmp_path, picture, save):
    """Make a folder whose training images have the given sizes, (height, width), in this order."""

    def make(*sizes: tuple[int, int], grey: bool = False) -> str:
        for index, (height, width) in enumerate(sizes):
            save(tmp_path / f"train/cats/{index}.png", picture(index, height, width, grey=grey))
        save(tmp_path / "test/cats/0.png", picture(0, *sizes[0]))
        return str(tmp_path)

    return make


def _error(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_sizes_that_differ(sized):
    assert _error(sized((32, 32), (30, 33)), "train") == (
        "image 30x33 in train/cats/1.png differs from 32x32 of train/cats/0.png: "
        "pass --data.size 32x32 --data.fit crop"
    )


def test_sizes_that_are_no_multiples(sized):
    assert _error(sized((30, 33)), "train", multiple_of=4) == (
        "image 30x33 in train/cats/0.png: height and width must be multiples of 4; "
        "crop to 28x32 or pass --data.fit crop"
    )


def test_sizes_other_than_the_one_asked_for(sized):
    assert _error(sized((8, 8), (16, 8)), "train", size=(8, 8)) == (
        "image 16x8 in train/cats/1.png differs from the 8x8 that was asked for: "
        "pass --data.size 8x8 --data.fit crop"
    )


def test_a_size_that_is_no_multiple(sized):
    assert _error(sized((8, 8)), "train", size=(9, 3), multiple_of=4) == (
        "size 9x3: height and width must be multiples of 4; pass --data.size 8x4"
    )


def test_images_smaller_than_a_multiple(sized):
    folder = sized((3, 9))
    assert "must be multiples of 4; pass --data.size with --data.fit crop" in _error(
        folder, "train", multiple_of=4
    )
    assert "pass --data.size 4x4 to enlarge them" in _error(folder, "train", multiple_of=4, fit="crop")
    assert load(folder, "train", multiple_of=4, fit="crop", size=(4, 4)).pixels.shape == (1, 3, 4, 4)


def test_non_square_images(sized, picture):
    loaded = load(sized((6, 10), (6, 10)), "train", multiple_of=2)
    assert loaded.pixels.shape == (2, 3, 6, 10)
    assert np.array_equal(loaded.pixels[1].permute(1, 2, 0).numpy(), picture(1, 6, 10))


def test_grey_images(sized, picture):
    loaded = load(sized((6, 10), grey=True), "train")
    assert loaded.pixels.shape == (1, 1, 6, 10)
    assert np.array_equal(loaded.pixels[0, 0].numpy(), picture(0, 6, 10, grey=True))


def test_crop_takes_the_most_common_size_and_the_smaller_of_two(sized):
    assert load(sized((9, 9), (12, 9), (12, 9)), "train", fit="crop").pixels.shape == (3, 3, 12, 9)
    assert load(sized((16, 8), (9, 9), (9, 9), (16, 8)), "train", fit="crop").pixels.shape == (4, 3, 9, 9)


def test_crop_rounds_down_and_cuts_a_few_border_pixels_unscaled(sized, picture):
    loaded = load(sized((11, 10), (11, 10), (8, 11)), "train", fit="crop", multiple_of=4)
    assert loaded.pixels.shape == (3, 3, 8, 8)
    assert np.array_equal(loaded.pixels[0].permute(1, 2, 0).numpy(), picture(0, 11, 10)[1:9, 1:9])
    assert np.array_equal(loaded.pixels[2].permute(1, 2, 0).numpy(), picture(2, 8, 11)[:, 1:9])


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40), (4, 6), (7, 500)])
def test_crop_scales_the_centre_to_cover(tmp_path, height, width):
    # A horizontal ramp and its centre's value survive any scaling that keeps the aspect and the centre.
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.tile(ramp, (height, 1))).save(tmp_path / name / "1.png")
    image = load(str(tmp_path), "train", size=(8, 8), fit="crop").pixels[0, 0].double()
    assert image.shape == (8, 8)
    assert abs(image.mean() - 127.5) < 2
    pixels_covered = min(height, width)
    slope = (image[:, -2] - image[:, 1]).mean().item() / 5
    assert slope == pytest.approx(255 / (width - 1) * pixels_covered / 8, rel=0.1, abs=0.3)


def test_every_source_takes_size_channels_and_limit():
    loaded = load("shapes", "test", size=(16, 24), fit="crop", channels=1, limit=5)
    assert loaded.pixels.shape == (5, 1, 16, 24)
    assert loaded.labels.tolist() == [0, 1, 2, 3, 4]
    assert loaded.pixels.is_contiguous()


def test_limit_takes_the_first_rows_and_may_exceed_the_set(sized):
    folder = sized(*[(8, 8)] * 5)
    whole = load(folder, "train")
    assert torch.equal(load(folder, "train", limit=2).pixels, whole.pixels[:2])
    assert load(folder, "train", limit=99).fingerprint == whole.fingerprint


def test_the_fingerprint_is_of_shape_pixels_and_labels():
    original = load("shapes", "test", limit=20)
    prints = {original.fingerprint}
    for index in [(0, 0, 0, 0), (19, 2, 31, 31)]:
        pixels = original.pixels.clone()
        pixels[index] ^= 1
        prints.add(replace(original, pixels=pixels).fingerprint)
    labels = original.labels.clone()
    labels[7] += 1
    prints.add(replace(original, labels=labels).fingerprint)
    prints.add(replace(original, labels=None).fingerprint)
    prints.add(replace(original, pixels=original.pixels.reshape(20, 3, 16, 64)).fingerprint)
    assert len(prints) == 6
    assert replace(original, pixels=original.pixels.clone(), spec="elsewhere").fingerprint == original.fingerprint


def test_an_image_set_is_frozen_and_compares_by_identity():
    loaded = load("shapes", "test", limit=2)
    assert isinstance(loaded, ImageSet)
    with pytest.raises(AttributeError):
        loaded.split = "train"
    assert loaded != replace(loaded)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shape", "no data set 'shape'; did you mean 'shapes'? (or a path that exists)"),
        ("qqqqq", "no data set 'qqqqq'; known: cifar10, hf:OWNER/NAME, shapes (or a path that exists)"),
        ("./gone", "no folder ./gone: pass one of shapes, cifar10, hf:OWNER/NAME, or a path that exists"),
        (
            "hf:mnist",
            "'hf:mnist' is no Hub data set: write hf:OWNER/NAME, hf:OWNER/NAME:CONFIG or "
            "hf:OWNER/NAME@REVISION, such as hf:uoft-cs/cifar10",
        ),
    ],
)
def test_a_spec_that_names_nothing(spec, message):
    assert _error(spec, "train") == message


def test_a_folder_with_the_name_of_a_data_set_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    load("shapes", "test", limit=2)
    line = f"shapes: the data set of this name is taken; --data ./shapes is the path {tmp_path / 'shapes'}"
    assert line in capsys.readouterr().err


def test_a_file_in_place_of_a_folder(tmp_path):
    archive = tmp_path / "cifar-10-binary.zip"
    archive.write_bytes(b"")
    assert _error(str(archive), "train") == (
        f"{archive} is a file: pass the folder it is in, or unpack it and pass that folder"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "no split 'tset'; did you mean 'test'?"),
        ({"split": "train", "fit": "corp"}, "no fit 'corp'; did you mean 'crop'?"),
        ({"split": "train", "channels": 2}, "channels is 2: pass 1 for grey or 3 for RGB"),
        ({"split": "train", "limit": 0}, "limit is 0: pass 1 or more"),
        ({"split": "train", "multiple_of": 0}, "multiple_of is 0: pass 1 or more"),
    ],
)
def test_arguments_out_of_range(options, message):
    assert _error("shapes", **options) == message


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(UserError, match="no images are named: --data SPEC"):
        load("")


@needs_cifar10
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_cifar(split):
    loaded = load(str(CIFAR10), split, limit=2000)
    assert loaded.pixels.shape == (2000, 3, 32, 32)
    assert loaded.bad == ()
    assert loaded.classes == tuple("0123456789")
    assert loaded.labels.bincount().min() > 100
    assert 110 < loaded.pixels.double().mean() < 130


def test_a_file_that_holds_a_set_is_told_from_an_image(tmp_path, picture, save):
    save(tmp_path / "photo.png", picture(0))
    (tmp_path / "nosuffix").write_bytes((tmp_path / "photo.png").read_bytes())
    np.save(tmp_path / "set.npy", np.stack([picture(key) for key in range(4)]))
    assert [is_data_file(tmp_path / name) for name in ("photo.png", "nosuffix", "set.npy", "gone", ".")] == [
        *(False, False, True, False, False)
    ]
