"""The autoregressive likelihood: what each pixel may see, and that the cache computes what a whole pass does."""

import pytest
import torch
from tests.likelihoods.test_base import random_parameters
from tests.likelihoods.test_corrected import some_pixels, trained

from vqvae.coding.integer import LIKELIHOODS
from vqvae.coding.integer.tables import ONE

SIZES = [(6, 7), (1, 5), (4, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_sees_only_pixels_before_it_in_raster_order(size):
    likelihood = trained("autoregressive")
    parameters, pixels = random_parameters(likelihood, 1, *size).double(), some_pixels(1, 3, *size)
    order = torch.arange(size[0] * size[1]).view(size)
    with torch.no_grad():
        whole = likelihood.given(parameters, pixels)
        for row in range(size[0]):
            for column in range(size[1]):
                changed = pixels.clone()
                changed[..., row, column] = 255 - changed[..., row, column]
                moved = (likelihood.given(parameters, changed) != whole).any(1)[0]
                assert not (moved & (order <= order[row, column])).any()


def test_a_pixel_sees_its_row_and_the_rows_above_as_far_as_the_blocks_reach():
    likelihood = trained("autoregressive", blocks=2)
    parameters = random_parameters(likelihood, 1, 8, 16).requires_grad_()
    pixels, moved = some_pixels(1, 3, 8, 16), torch.zeros(8, 16, dtype=torch.bool)
    with torch.no_grad():
        whole = likelihood.given(parameters, pixels)
        for row in range(8):
            for column in range(16):
                changed = pixels.clone()
                changed[..., row, column] = 255 - changed[..., row, column]
                moved[row, column] = (likelihood.given(parameters, changed) != whole)[..., 6, 8].any()
    assert moved[6, 1:8].all() and not moved[6, 8:].any() and not moved[6, 0]  # 3 + 2 * 2 columns to the left
    assert moved[5, 3:12].any() and moved[3].any() and not moved[2].any()  # 1 + 2 rows above
    likelihood.given(parameters, pixels)[..., 6, 8].sum().backward()
    assert parameters.grad[..., 6, 8].any()  # the decoder's output at the pixel itself


def test_the_cache_of_the_integer_form_computes_what_a_whole_pass_does():
    likelihood = LIKELIHOODS.make(trained("autoregressive"))
    parameters = (random_parameters(trained("autoregressive"), 5, 6, 7).double() * ONE).round()
    pixels = some_pixels(5, 3, 6, 7)
    images = (2 * ONE * (2 * pixels.long() - 255) + 255) // 510
    at_once = parameters + likelihood.network(images.double(), parameters)
    for place, below in list(likelihood.coding_order(parameters, pixels))[::3]:
        values = torch.full((5, 1, 1), 100)
        expected = likelihood.mixture.cumulative(at_once[..., *place[2:]], pixels[:, :0, *place[2:]])(values)
        assert torch.equal(below(values), expected)
