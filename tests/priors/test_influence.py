"""Every prior is causal without a blind spot, and its cache computes the logits of the whole grid."""

from math import prod

import pytest
import torch
from tests.priors.kinds import KINDS, small, spec_of

GRIDS = [(8, 8), (6, 9), (9, 6), (1, 16), (16, 1)]


def build(kind, n, num_classes):
    """A prior in float64 with large random weights, so that no influence is lost in rounding."""
    model = small(kind, spec_of((8, 8), n), num_classes=num_classes).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def random_codes(count, grid, n):
    return torch.randint(0, 5, (count, *grid, n), generator=torch.Generator().manual_seed(1))


def influence(model, grid, n, labels):
    """How far each change of a code moves each code's logits: [code changed, logits], raster, then place."""
    places, codes = prod(grid) * n, random_codes(1, grid, n)
    changed = codes.flatten(1).repeat(places, 1)
    changed.diagonal().add_(1).remainder_(5)
    moved = []
    with torch.no_grad():
        before = model(codes, labels)
        for part in changed.split(128):
            after = model(part.view(-1, *grid, n), None if labels is None else labels.expand(len(part)))
            assert after.isfinite().all()
            moved.append((after - before).abs().amax(-1).flatten(1))
    return torch.cat(moved)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 10])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_code_is_seen_by_all_later_logits_and_by_no_others(grid, n, kind, num_classes):
    model = build(kind, n, num_classes)
    moved = influence(model, grid, n, torch.ones(1, dtype=torch.int64) if num_classes else None)
    later = torch.ones_like(moved).triu(1).bool()
    assert (moved[later] > 1e-9).all()
    assert (moved[~later] < 1e-13).all()


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 10])
@pytest.mark.parametrize("grid", [*GRIDS, (1, 1)])
def test_cached_logits_equal_those_of_the_whole_grid(grid, n, kind, num_classes):
    model = build(kind, n, num_classes)
    codes, labels = random_codes(4, grid, n), torch.arange(4) if num_classes else None
    with torch.no_grad():
        whole = model(codes, labels).flatten(1, 3)
        cache, previous, steps = model.start(4, grid, labels), None, []
        for code in codes.flatten(1).T:
            steps.append(model.step(cache, previous).clone())
            previous = code
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=0, atol=1e-12)
