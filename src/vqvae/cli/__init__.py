"""The command ``vqvae``: parse, call, print; nothing else. Heavy imports wait until a command needs them."""

from vqvae.cli.command import main as main
from vqvae.cli.parsing import parse as parse
