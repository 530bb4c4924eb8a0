"""The words of a command line, and the options that are keys of a recipe."""

import argparse
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NoReturn

from vqvae.cli import measures, pictures, tokens, training
from vqvae.errors import UserError, did_you_mean


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line; UserError for those that mean nothing."""
    parser = _Parser(
        prog="vqvae",
        description="Discrete image models: a VQ-VAE tokenizer, a prior over its codes, samples, measurements.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run, overrides=None)
        return sub

    for group in (training, pictures, measures, tokens):
        group.add_commands(command)
    arguments, rest = parser.parse_known_args(argv)
    arguments.overrides = _overrides(rest, configurable=hasattr(arguments, "recipe"))
    return arguments


def _version() -> str:
    from vqvae import __version__

    return f"vqvae {__version__}"


def _overrides(rest: Sequence[str], *, configurable: bool) -> dict[str, str]:
    """Read ``--a.b VALUE`` and ``--a.b=VALUE``; whatever else was left over is an error."""
    options = "out data steps device precision num seed label json split store"
    known = [f"--{name}" for name in options.split()]
    found: dict[str, str] = {}
    words = iter(chain.from_iterable(word.split("=", 1) if word.startswith("--") else [word] for word in rest))
    for word in words:
        if not word.startswith("--") or not configurable:
            raise UserError(f"unknown argument '{word}'{did_you_mean(word, known)}")
        value = next(words, None)
        if value is None or value.startswith("--"):
            raise UserError(f"{word}: expected a value")
        found[word.removeprefix("--").replace("-", "_")] = value
    return found
