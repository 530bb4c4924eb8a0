"""Discrete image models: a VQ-VAE tokenizer, a prior over its codes, samples and measurements.

>>> import vqvae
>>> run = vqvae.train("shapes", steps=500)  # doctest: +SKIP
>>> tokenizer = vqvae.load_tokenizer(run)  # doctest: +SKIP
>>> codes = tokenizer.encode(images)  # doctest: +SKIP
"""

# all names except the public ones begin with an underscore, so that completion shows only the names in __all__
import typing as _typing
from importlib import import_module as _import_module

from vqvae.version import VERSION as _VERSION

if _typing.TYPE_CHECKING:
    from vqvae.api import evaluate as evaluate
    from vqvae.api import from_pretrained as from_pretrained
    from vqvae.api import push_to_hub as push_to_hub
    from vqvae.api import resume as resume
    from vqvae.api import sample as sample
    from vqvae.api import train as train
    from vqvae.api import train_prior as train_prior
    from vqvae.data import load as load_images
    from vqvae.errors import UserError as UserError
    from vqvae.model_io import load_prior as load_prior
    from vqvae.model_io import load_tokenizer as load_tokenizer
    from vqvae.model_save import save as save

__version__ = _VERSION
__all__ = [
    "UserError",
    "__version__",
    "evaluate",
    "from_pretrained",
    "load_images",
    "load_prior",
    "load_tokenizer",
    "push_to_hub",
    "resume",
    "sample",
    "save",
    "train",
    "train_prior",
]
# the module of each name; it is imported on first use, so that `vqvae --help` need not wait for torch
_HOMES = {
    "UserError": ("vqvae.errors", "UserError"),
    "evaluate": ("vqvae.api", "evaluate"),
    "from_pretrained": ("vqvae.api", "from_pretrained"),
    "load_images": ("vqvae.data", "load"),
    "load_prior": ("vqvae.model_io", "load_prior"),
    "load_tokenizer": ("vqvae.model_io", "load_tokenizer"),
    "push_to_hub": ("vqvae.api", "push_to_hub"),
    "resume": ("vqvae.api", "resume"),
    "sample": ("vqvae.api", "sample"),
    "save": ("vqvae.model_save", "save"),
    "train": ("vqvae.api", "train"),
    "train_prior": ("vqvae.api", "train_prior"),
}


def __getattr__(name: str) -> _typing.Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(_import_module(module), attribute)
    raise AttributeError(f"module 'vqvae' has no attribute '{name}'; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)
