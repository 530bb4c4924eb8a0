"""Every prior that the package exports, small: a new kind is tested by what tests all kinds."""

from dataclasses import fields

from vqvae.priors import PriorModelConfig
from vqvae.tensors import CodeSpec

# a kind may need more than these for every code to see every earlier code
_SETTINGS = {"width": 16, "layers": 2, "heads": 2, "head_width": 32}
_OWN = {"pixelcnn": {"layers": 9, "kernel": 5}}
KINDS = sorted(kind for kind, config in PriorModelConfig.kinds().items() if config.__module__.startswith("vqvae."))


def small(kind, spec, *, num_classes=0, **settings):
    config = PriorModelConfig.kinds()[kind]
    known = {field.name for field in fields(config)}
    own = {name: value for name, value in _SETTINGS.items() if name in known} | _OWN.get(kind, {})
    return config(**own | settings).build(spec, num_classes=num_classes)


def spec_of(grid, n=1, num_codes=5):
    return CodeSpec(grid, n, num_codes)
