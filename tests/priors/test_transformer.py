"""The transformer's positions are relative, and its heads share the width."""

from itertools import product

import pytest
import torch
from tests.priors.kinds import assert_cached_as_whole

from vqvae.priors import CodeTransformer
from vqvae.priors.transformer import rotate, rotation_of


def test_turned_products_depend_on_differences_of_coordinates_alone():
    h, w, d = 4, 5, 16
    query, key = torch.randn(2, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = torch.stack([query, key])[:, None, None, None].expand(2, 1, 1, h * w, d)
    turned_query, turned_key = rotate(both, rotation_of((h, w), d, query)).flatten(1, 2)[:, 0]
    products = (turned_query @ turned_key.T)[:, 1:].view(h, w, h * w - 1)  # the start token left out
    by_offset = {}
    for row, column, held in product(range(h), range(w), range(h * w - 1)):  # key t holds position t - 1
        offset = row - held // w, column - held % w
        by_offset.setdefault(offset, []).append(products[row, column, held])
    assert max(float(torch.stack(p).std(correction=0)) for p in by_offset.values()) < 1e-12
    means = torch.stack([p[0] for p in by_offset.values()])
    assert len(means.unique()) == len(means)


def test_the_cache_has_the_epsilon_of_every_norm():
    torch.manual_seed(0)
    model = CodeTransformer(16, grid=(3, 4), width=16, layers=2, heads=2, head_width=8).double().eval()
    for tokens in (model.embedding.weight, model.begin):  # so small that epsilon is most of a mean square
        tokens.data.mul_(1e-4)
    assert_cached_as_whole(model, (3, 4), 1, None)


@pytest.mark.parametrize("make", [lambda **how: CodeTransformer(5, **how), CodeTransformer.Config])
def test_a_width_that_heads_do_not_divide_is_refused(make):
    with pytest.raises(ValueError, match="width 12 must be a multiple of 4"):
        make(width=12, heads=2)
