"""The multiscale likelihood: what each group of pixels may see."""

import pytest
import torch
from tests.likelihoods.test_base import random_parameters
from tests.likelihoods.test_corrected import some_pixels, trained

SIZES = [(8, 8), (6, 10), (5, 7), (1, 3), (2, 1)]


def order_of(likelihood, height, width):
    """Return the number of each pixel's group, [H, W], in the order of coding."""
    order = torch.full((height, width), -1)
    parameters = torch.zeros(1, likelihood.out_channels, height, width, dtype=torch.float64)
    pixels = torch.zeros(1, likelihood.channels, height, width, dtype=torch.uint8)
    for number, (place, _) in enumerate(likelihood.coding_order(parameters, pixels)):
        if place[1] == 0:
            assert (order[place[2:]] == -1).all()
            order[place[2:]] = number
    return order


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_is_coded_once_and_sees_only_pixels_before_it(levels, size):
    likelihood = trained("multiscale", levels=levels)
    order = order_of(likelihood, *size)
    assert (order >= 0).all()
    parameters, pixels = random_parameters(likelihood, 1, *size).double(), some_pixels(1, 3, *size)
    with torch.no_grad():
        whole = likelihood.given(parameters, pixels)
        for row in range(size[0]):
            for column in range(size[1]):
                changed = pixels.clone()
                changed[..., row, column] = 255 - changed[..., row, column]
                moved = (likelihood.given(parameters, changed) != whole).any(1)[0]
                assert not (moved & (order <= order[row, column])).any()


def test_fine_pixels_do_see_coarse_ones():
    likelihood = trained("multiscale")
    parameters, pixels = random_parameters(likelihood, 1, 8, 8), some_pixels(1, 3, 8, 8)
    changed = pixels.clone()
    changed[..., 4, 4] = 255 - changed[..., 4, 4]
    with torch.no_grad():
        moved = (likelihood.given(parameters, changed) != likelihood.given(parameters, pixels)).any(1)[0]
    assert moved[3, 3] and moved[3, 4] and moved[4, 3] and moved[2, 2] and not moved[4, 4] and not moved[0, 0]
