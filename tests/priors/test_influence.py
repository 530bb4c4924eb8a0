"""Every prior is causal without a blind spot, and its cache computes the logits of the whole grid."""

import pytest
import torch
from tests.priors.kinds import KINDS, assert_cached_as_whole, assert_causal, decided, small, spec_of

GRIDS = [(8, 8), (6, 9), (9, 6), (1, 16), (16, 1)]


def build(kind, n, num_classes):
    return decided(small(kind, spec_of((8, 8), n), num_classes=num_classes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "num_classes"), [(1, 0), (2, 3), (10, 0)])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_code_is_seen_by_all_later_logits_and_by_no_others(grid, n, kind, num_classes):
    assert_causal(build(kind, n, num_classes), grid, n, torch.ones(1, dtype=torch.int64) if num_classes else None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "num_classes"), [(1, 0), (2, 3), (10, 0)])
@pytest.mark.parametrize("grid", [*GRIDS, (1, 1)])
def test_cached_logits_equal_those_of_the_whole_grid(grid, n, kind, num_classes):
    assert_cached_as_whole(build(kind, n, num_classes), grid, n, torch.arange(4) if num_classes else None)
