"""Which version of the package is installed."""

from importlib.metadata import version

VERSION = version("vqvae-toolkit")
