"""The PixelCNN with kernels of other sizes."""

import re

import pytest
import torch
from tests.priors.kinds import assert_cached_as_whole, assert_causal, decided

from vqvae.priors import PixelCNN


@pytest.fixture(params=[3, 7], ids=lambda kernel: f"kernel {kernel}")
def model(request):
    settings = {"codes_per_position": 2, "num_classes": 3, "width": 8, "layers": 6, "head_width": 16}
    return decided(PixelCNN(5, kernel=request.param, **settings))


@pytest.mark.parametrize("grid", [(3, 4), (4, 3)], ids=str)
def test_a_code_is_seen_by_all_later_logits_and_by_no_others_with_any_kernel(model, grid):
    assert_causal(model, grid, 2, torch.ones(1, dtype=torch.int64))


@pytest.mark.parametrize("grid", [(3, 4), (4, 3)], ids=str)
def test_cached_logits_equal_those_of_the_whole_grid_with_any_kernel(model, grid):
    assert_cached_as_whole(model, grid, 2, torch.arange(4))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("grid", [(4, 9), (9, 4), (1, 8)], ids=str)
def test_the_number_of_layers_that_blindness_names_reaches_all_codes_and_one_less_does_not(grid, kernel):
    line = PixelCNN.Config(layers=1, kernel=kernel).blindness(grid)
    layers = int(re.search(r"--model.layers (\d+) would reach all codes", line)[1])
    torch.manual_seed(0)
    settings = {"width": 12, "head_width": 64, "kernel": kernel}
    assert not PixelCNN.Config(layers=layers, kernel=kernel).blindness(grid)
    assert_causal(decided(PixelCNN(5, layers=layers, **settings)), grid, 1, None)
    assert PixelCNN.Config(layers=layers - 1, kernel=kernel).blindness(grid)
    with pytest.raises(AssertionError):
        assert_causal(decided(PixelCNN(5, layers=layers - 1, **settings)), grid, 1, None)
