"""The PixelCNN with kernels of other sizes."""

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
