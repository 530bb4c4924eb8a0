import math

import numpy as np
import pytest
import torch

from vqvae.data import load
from vqvae.data.sdf import OUTLINES
from vqvae.data.shapes import draw
from vqvae.errors import UserError


def test_the_set_is_what_the_plan_promises():
    train, test = load("shapes", "train"), load("shapes", "test")
    assert train.pixels.shape == (10_000, 3, 32, 32)
    assert test.pixels.shape == (2_000, 3, 32, 32)
    assert train.pixels.dtype == torch.uint8
    assert train.pixels.is_contiguous()
    assert train.classes == ("circle", "square", "triangle", "star", "ring", "cross", "heart", "moon")
    assert train.labels.bincount().tolist() == [1250] * 8
    assert test.labels.bincount().tolist() == [250] * 8
    assert train.bad == test.bad == ()


def test_an_image_is_a_function_of_its_row():
    together = load("shapes", "train", limit=600)
    rows = torch.tensor([599, 3, 256, 255])
    assert torch.equal(draw(rows, split="train"), together.pixels[rows])
    assert together.labels[rows].tolist() == (rows % 8).tolist()


def test_a_larger_set_begins_with_the_same_images_and_keeps_its_test_split():
    large = load("shapes:10200", "train")
    assert large.pixels.shape == (10_200, 3, 32, 32)
    assert torch.equal(large.pixels[10_190:], draw(torch.arange(10_190, 10_200), split="train"))
    assert load("shapes:20", "test").fingerprint == load("shapes", "test").fingerprint
    assert torch.equal(load("shapes:20", "train").pixels, load("shapes", "train", limit=20).pixels)


@pytest.mark.parametrize("count", ["", "0", "-5", "1e6", "10000000", "٣"])
def test_a_count_that_is_none(count):
    with pytest.raises(UserError, match=r"^shapes:.*pass a number of training images"):
        load(f"shapes:{count}", "train")


def test_the_set_is_the_same_on_every_machine():
    assert load("shapes", "test").fingerprint == "1e81d82a8b315ddc8a4dc10c1e8698060c79bfafb6dfcb0bb9fe2fded0a70de3"


def test_splits_seeds_and_rows_all_differ():
    rows = torch.arange(64)
    drawn = torch.cat([draw(rows, split="train"), draw(rows, split="test"), draw(rows, split="train", seed=1)])
    assert len(drawn.flatten(1).unique(dim=0)) == 3 * 64


def test_images_use_the_range_and_are_neither_flat_nor_washed_out():
    pixels = draw(torch.arange(800), split="train").double()
    assert pixels.amin() < 16
    assert pixels.amax() == 255
    assert pixels.std(dim=(1, 2, 3)).min() > 8
    assert 100 < pixels.mean() < 180


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_lie_in_the_unit_circle_and_measure_distance(name):
    side = np.linspace(-1.5, 1.5, 301)
    x, y = np.meshgrid(side, side)
    distance = OUTLINES[name].distance(x, y)
    assert np.isfinite(distance).all()
    inside = distance < 0
    assert np.hypot(x, y)[inside].max() <= 1
    # Large enough to be seen, and the field's slope is at most one: it never overstates the distance.
    assert inside.mean() * 9 > 0.8
    step = side[1] - side[0]
    for axis in (0, 1):
        assert np.abs(np.diff(distance, axis=axis)).max() <= step * 1.01


def test_every_shape_lies_within_the_image():
    # A shape that touched the border would put its saturated colour there; backgrounds are muted.
    pixels = draw(torch.arange(2000), split="train").double() / 255
    chroma = pixels.amax(1) - pixels.amin(1)
    border = torch.cat([chroma[:, 0], chroma[:, -1], chroma[:, :, 0], chroma[:, :, -1]], dim=1)
    assert border.max() < 0.45
    assert chroma.flatten(1).amax(1).min() > border.max() - 0.15


def test_turns_keep_the_classes_apart():
    assert OUTLINES["square"].max_turn < 45
    assert OUTLINES["cross"].max_turn < 45
    assert math.isclose(OUTLINES["star"].max_turn, 360 / 5 / 2)
