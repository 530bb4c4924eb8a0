"""Both priors are causal without a blind spot: every code moves all later logits, and no others."""

from math import prod

import pytest
import torch

from vqvae.models import CodeTransformer, PixelCNN

KINDS = {
    "pixelcnn": lambda **shape: PixelCNN(5, width=16, layers=9, kernel=5, head_width=32, **shape),
    "transformer": lambda **shape: CodeTransformer(5, width=16, layers=2, heads=2, head_width=32, **shape),
}


def build(kind, **shape):
    """A prior in float64 with large random weights, so that no influence is lost in rounding."""
    model = KINDS[kind](**shape).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def influence(model, grid, n, labels=None):
    """How far each change of a code moves each code's logits: [code changed, logits], raster, then place."""
    places = prod(grid) * n
    codes = torch.randint(0, 5, (1, *grid, n), generator=torch.Generator().manual_seed(1))
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


def check(model, grid, n, labels=None):
    moved = influence(model, grid, n, labels)
    later = torch.ones_like(moved).triu(1).bool()
    assert (moved[later] > 1e-9).all()
    assert (moved[~later] < 1e-13).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 10])
@pytest.mark.parametrize("grid", [(8, 8), (6, 9), (9, 6), (1, 16), (16, 1)])
def test_a_code_is_seen_by_all_later_logits_and_by_no_others(grid, n, kind):
    check(build(kind, codes_per_position=n), grid, n)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("grid", [(3, 4), (4, 3), (1, 6), (6, 1)])
def test_nor_do_classes_change_what_a_transformer_sees(grid, n):
    model = build("transformer", codes_per_position=n, num_classes=3)
    check(model, grid, n, torch.ones(1, dtype=torch.int64))
