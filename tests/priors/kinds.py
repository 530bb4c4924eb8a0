"""Every prior that the package exports, small: a new kind is tested by what tests all kinds."""

from dataclasses import fields

import torch

from vqvae.priors import PriorModelConfig
from vqvae.tensors import CodeSpec

# a kind may need more than these for every code to see every earlier code
_SETTINGS = {"width": 16, "layers": 2, "heads": 2, "head_width": 32}
_OWN = {"pixelcnn": {"layers": 9, "kernel": 5}}
KINDS = sorted(kind for kind, config in PriorModelConfig.kinds().items() if config.__module__.startswith("vqvae."))


def small_config(kind, **settings):
    """Return a small config of a kind; settings that the kind does not have are left out."""
    config = PriorModelConfig.kinds()[kind]
    known = {field.name for field in fields(config)}
    wanted = _SETTINGS | _OWN.get(kind, {}) | settings
    return config(**{name: value for name, value in wanted.items() if name in known})


def small(kind, spec, *, num_classes=0, **settings):
    """Return a small prior of a kind."""
    return small_config(kind, **settings).build(spec, num_classes=num_classes)


def decided(model):
    """Return a prior in float64 with large random weights, so that no influence is lost in rounding."""
    model, generator = model.double().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def spec_of(grid, n=1, num_codes=5):
    return CodeSpec(grid, n, num_codes)


def random_codes(count, grid, n, num_codes=5):
    return torch.randint(0, num_codes, (count, *grid, n), generator=torch.Generator().manual_seed(1))


def influence(model, grid, n, labels):
    """How far each change of a code moves each code's logits: [code changed, logits], raster, then place."""
    codes = random_codes(1, grid, n)
    changed = codes.flatten(1).repeat(codes.numel(), 1)
    changed.diagonal().add_(1).remainder_(5)
    moved = []
    with torch.no_grad():
        before = model(codes, labels)
        for part in changed.split(128):
            after = model(part.view(-1, *grid, n), None if labels is None else labels.expand(len(part)))
            assert after.isfinite().all()
            moved.append((after - before).abs().amax(-1).flatten(1))
    return torch.cat(moved)


def assert_causal(model, grid, n, labels):
    """Assert that each code moves the logits of all later codes, and no others."""
    moved = influence(model, grid, n, labels)
    later = torch.ones_like(moved).triu(1).bool()
    assert (moved[later] > 1e-9).all()
    assert (moved[~later] < 1e-13).all()


def assert_cached_as_whole(model, grid, n, labels):
    """Assert that the steps of the cache have the logits of the whole grid, for four grids of codes."""
    codes = random_codes(4, grid, n)
    with torch.no_grad():
        whole = model(codes, labels).flatten(1, 3)
        cache, previous, steps = model.start(4, grid, labels), None, []
        for code in codes.flatten(1).T:
            steps.append(model.step(cache, previous).clone())
            previous = code
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=0, atol=1e-12)
