"""Discrete image models: a VQ-VAE tokenizer, a PixelCNN prior over its codes, samples and measurements.

>>> import vqvae
>>> tokenizer = vqvae.load_tokenizer("runs/cifar10")  # doctest: +SKIP
>>> codes = tokenizer.encode(images)  # doctest: +SKIP
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqvae.model_io import load_prior as load_prior
    from vqvae.model_io import load_tokenizer as load_tokenizer

__version__ = version("vqvae-toolkit")
__all__ = ["__version__", "load_prior", "load_tokenizer"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import: `vqvae --help` must not wait for it
    if name in ("load_prior", "load_tokenizer"):
        return getattr(import_module("vqvae.model_io"), name)
    raise AttributeError(f"module 'vqvae' has no attribute '{name}'")
