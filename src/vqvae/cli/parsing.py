"""From the words of a command line to the arguments of a command."""

import argparse
from collections.abc import Sequence

from vqvae.cli import coding, hub, measures, pictures, sharing, tokens, training
from vqvae.cli.keys import keys_page, read_keys
from vqvae.cli.options import add_plugin
from vqvae.cli.parser import CommandParser, Run
from vqvae.cli.plugins import import_plugin
from vqvae.errors import UserError, did_you_mean
from vqvae.version import VERSION


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line, and import the plugins that they name.

    Raises:
        UserError: for a word that is not understood; the message names the closest known word.
    """
    parser, commands = parsers()
    first = argv[0] if argv else ""
    if first not in commands:
        if first and not first.startswith("-"):
            raise UserError(f"no command '{first}'{did_you_mean(first, commands)}")
        parser.parse_args(argv)  # --help and --version end here
        raise UserError("no command given; vqvae --help lists them")
    command = commands[first]
    words, keys = command.split(argv[1:])
    for module in _plugins(words):
        import_plugin(module)
    if command.keys and {"--help", "-h"} & {*words}:
        command.epilog = keys_page(command.keys)
    arguments = command.parse_args(words)
    arguments.overrides = read_keys(command, keys)
    return arguments


def parsers() -> tuple[CommandParser, dict[str, CommandParser]]:
    """Return the parser of ``vqvae`` itself and the parsers of its commands by name."""
    parser = CommandParser(
        prog="vqvae",
        description="Train discrete image models: a VQ-VAE (the tokenizer) and a prior over its codes. Draw and "
        "measure images with them.",
        epilog="vqvae COMMAND --help describes a command.",
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=CommandParser)
    commands: dict[str, CommandParser] = {}

    def command(name: str, run: Run, text: str, *, keys: str = "", more: str = "") -> CommandParser:
        about = f"{text[0].upper()}{text[1:]}.{' ' if more else ''}{more}"
        sub: CommandParser = subparsers.add_parser(name, help=text, description=about, keys=keys)
        sub.set_defaults(call=run)
        commands[name] = sub
        return sub

    for group in (training, pictures, measures, tokens, coding, hub, sharing):
        group.add_commands(command)
    for name, sub in commands.items():
        if name != "demo":  # the demo opens no file of the user's
            add_plugin(sub)
    return parser, commands


def _plugins(words: Sequence[str]) -> list[str]:
    """Return the modules that ``--plugin`` names; they are imported before the other words are read."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_plugin(reader)
    try:
        return reader.parse_known_args(words)[0].plugin
    except argparse.ArgumentError:
        return []  # --plugin without a name: the command's own parser reports it


def _version() -> str:
    return f"vqvae {VERSION}"
