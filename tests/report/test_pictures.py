"""Pictures are laid out to the pixel, and a file is whole or not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.errors import UserError
from vqvae.report.pictures import GAP_GREY, figures_over_time, grid, img_element, pairs, save_png


def noise(count: int, channels: int = 3, height: int = 4, width: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def enlarged(image: torch.Tensor, scale: int) -> np.ndarray:
    """The naive way: every pixel becomes a square."""
    square = np.ones((scale, scale, 1), dtype=np.uint8)
    return np.kron(image.permute(1, 2, 0).numpy(), square)


@pytest.mark.parametrize(("count", "columns", "scale", "gap"), [(5, 3, 2, 2), (4, 2, 1, 0), (3, 9, 3, 1)])
def test_every_pixel_of_a_grid_is_an_image_or_the_gap(count: int, columns: int, scale: int, gap: int) -> None:
    pixels = noise(count)
    drawn = np.asarray(grid(pixels, columns=columns, scale=scale, gap=gap))
    across = min(columns, count)
    down = -(-count // across)
    height, width = 4 * scale, 6 * scale
    expected = np.full(
        (down * height + (down - 1) * gap, across * width + (across - 1) * gap, 3), GAP_GREY, dtype=np.uint8
    )
    for i in range(count):
        top, left = i // across * (height + gap), i % across * (width + gap)
        expected[top : top + height, left : left + width] = enlarged(pixels[i], scale)
    np.testing.assert_array_equal(drawn, expected)


def test_a_grey_grid_is_grey() -> None:
    pixels = noise(2, channels=1)
    drawn = grid(pixels, columns=2, scale=1, gap=0)
    assert drawn.mode == "L"
    np.testing.assert_array_equal(np.asarray(drawn), torch.cat([pixels[0, 0], pixels[1, 0]], dim=1).numpy())


@pytest.mark.parametrize(("height", "expected"), [(28, 84), (32, 64), (64, 64), (100, 100)])
def test_default_scale_is_the_smallest_whole_one_that_reaches_64(height: int, expected: int) -> None:
    assert grid(noise(1, height=height, width=8)).height == expected


@pytest.mark.parametrize(("count", "across"), [(1, 1), (2, 2), (9, 3), (10, 4), (16, 4)])
def test_default_grid_is_about_square(count: int, across: int) -> None:
    assert grid(noise(count, height=1, width=1), scale=1, gap=0).width == across


def test_pairs_put_each_reconstruction_right_below_its_original() -> None:
    originals, reconstructions = noise(5, height=64, seed=1), noise(5, height=64, seed=2)
    drawn = np.asarray(pairs(originals, reconstructions, columns=3))
    expected = np.full((2 * (64 + 2 + 64) + 8, 3 * 6 + 2 * 2, 3), GAP_GREY, dtype=np.uint8)
    for i in range(5):
        top, left = i // 3 * (64 + 2 + 64 + 8), i % 3 * (6 + 2)
        expected[top : top + 64, left : left + 6] = enlarged(originals[i], 1)
        expected[top + 66 : top + 130, left : left + 6] = enlarged(reconstructions[i], 1)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    "pixels",
    [noise(0), noise(1, channels=2), noise(1)[0], noise(1).float()],
    ids=["none", "channels", "no batch", "float"],
)
def test_what_is_not_pixels_is_refused(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        grid(pixels)


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"scale": 0}, {"gap": -1}])
def test_impossible_layouts_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        grid(noise(2), **wrong)


def test_pairs_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        pairs(noise(2), noise(3))


def test_save_png_keeps_every_pixel_and_leaves_nothing_else(tmp_path: Path) -> None:
    picture = grid(noise(4))
    save_png(grid(noise(1)), tmp_path / "a.png")
    save_png(picture, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    save_png(grid(noise(1)), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(grid(noise(4)), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_only_a_picture_that_fits_is_shown_by_nearest_neighbour(tmp_path: Path) -> None:
    for width in (100, 500, 2000):
        save_png(Image.new("L", (width, 10)), tmp_path / f"{width}.png")
    assert 'class="exact" width="400" height="40"' in img_element(tmp_path / "100.png", alt="x")
    assert 'class="exact" width="500" height="10"' in img_element(tmp_path / "500.png", alt="x")
    assert "exact" not in img_element(tmp_path / "2000.png", alt="x")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"a\.png: not a PNG"):
        img_element(tmp_path / "a.png", alt="x")


def test_the_strip_over_time_has_first_and_last_and_at_most_five(tmp_path: Path) -> None:
    assert figures_over_time(tmp_path, "samples", alt="x") == ""
    for step in range(100, 1000, 100):
        save_png(Image.new("L", (2, 2)), tmp_path / f"samples-{step:08d}.png")
    shown = figures_over_time(tmp_path, "samples", alt="x")
    assert shown.count("<img") == 1 + 5
    assert shown.count("Step 900") == 2  # large, and last of the strip
    assert shown.count("Step 100<") == 1
    save_png(Image.new("L", (2, 2)), tmp_path / "samples.png")
    assert figures_over_time(tmp_path, "samples", alt="x").count("Step 900") == 1
