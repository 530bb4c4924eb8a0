"""An argparse parser that reports a mistake in one line and takes recipe keys as options."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vqvae.errors import UserError, closest
from vqvae.model_place import whole_model
from vqvae.paths import whole_path, whole_spec
from vqvae.whole_numbers import whole_number

Run = Callable[[argparse.Namespace], None]


class CommandParser(argparse.ArgumentParser):
    """The parser of a command.

    Args:
        keys: which recipe keys the command also takes as options: the keys of the stage ``tokenizer`` or
            ``prior``, of both stages (``run``), or those about reading images (``data``, ``data sets``, ``whole
            data``); empty for none.
        settings: the arguments of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, keys: str = "", **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **settings)
        self.keys = keys

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint as one line."""
        message = re.sub(r"^argument ((?:-[^:]*|[A-Z_]+)):", r"\1:", message)
        raise UserError(f"{message}; see {self.prog} --help")

    @property
    def options(self) -> dict[str, argparse.Action]:
        """The command's own options by name: ``--out``, ..."""
        return {name: action for name, action in self._option_string_actions.items() if name.startswith("--")}

    def split(self, words: Sequence[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
        """Return the words for argparse, and the other options with their values; a missing value is None.

        Raises:
            UserError: for an unknown option of a command that takes no keys.
        """
        own: list[str] = []
        others: list[tuple[str, str | None]] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":
                return [*own, word, *rest], others
            if not name.startswith("--") or name in self.options:
                own.append(word)
                if not equals and name in self.options and self.options[name].nargs != 0 and rest:
                    own.append(rest.pop(0))  # the option's value, whatever it looks like
            elif not self.keys:
                raise UserError(f"unknown option {name}{self.meant(name)}")
            elif equals:
                others.append((name, value))
            else:
                others.append((name, rest.pop(0) if rest and not rest[0].startswith("--") else None))
        return own, others

    def meant(self, name: str, found: str | None = None) -> str:
        """Return the end of an error: the closest option, else ``found``, else where options are listed."""
        own = {option.removeprefix("--"): option for option in self.options}
        word = name.removeprefix("--")
        if (near := closest(word, own)) and "." not in word:
            found = own[near]
        return f"; did you mean {found}?" if found else f"; {self.prog} --help lists the options"


class _Formatter(argparse.HelpFormatter):
    """A help formatter that keeps the line breaks of a text."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def integer(text: str) -> int:
    """Read an integer option such as ``10000`` or ``10k``."""
    try:
        return whole_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number(text: str) -> float:
    """Read a number option."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a number") from None


def path(text: str) -> str:
    """Read an option that is a path."""
    return _said_by_argparse(whole_path, text)


def spec(text: str) -> str:
    """Read an option that is a path or a name."""
    return _said_by_argparse(whole_spec, text)


def model(text: str) -> str:
    """Read an option that is the path or the name of a model."""
    return _said_by_argparse(whole_model, text)


def _said_by_argparse(read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader of an option that takes one of some words."""

    def read(text: str) -> str:
        if text in words:
            return text
        found = closest(text, words)
        meant = f"; did you mean {found}?" if found else ""
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not one of {', '.join(words)}{meant}")

    return read
