"""Recipe keys as options: checked against the keys that there are, and listed by ``--help``."""

import shutil
from collections.abc import Sequence
from textwrap import fill, wrap
from typing import TYPE_CHECKING

from vqvae.cli.parser import CommandParser
from vqvae.errors import UserError

if TYPE_CHECKING:
    from vqvae.config import Group, Key

_STAGES = {
    "tokenizer": ("tokenizer",),
    "prior": ("prior",),
    "run": ("tokenizer", "prior"),
    "data": ("tokenizer",),
    "whole data": ("tokenizer",),
}
_NARROWEST, _WIDEST = 60, 115
_RECIPE = (
    "keys of the recipe, each as an option too (--training.steps 500). The defaults stand for keys that the "
    "recipe does not have; an option comes before the recipe."
)
_ABOUT_READING = "keys about reading images, each as an option too; by default as the run's own images were read."
_ABOUT = {
    "tokenizer": _RECIPE,
    "prior": _RECIPE,
    "data": _ABOUT_READING,
    "whole data": _ABOUT_READING,
}


def read_keys(sub: CommandParser, found: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Return the options that argparse does not know as values by recipe key.

    Raises:
        UserError: for an option that is no key of the command, a key without a value, and a key given twice.
    """
    keys: dict[str, str] = {}
    for option, value in found:
        key = option.removeprefix("--").replace("-", "_")
        if not _is_known(sub, key):
            raise UserError(f"unknown option {option}{_meant(sub, option, key)}")
        if value is None:
            raise UserError(f"{option}: expected a value: {_values(sub, key)}")
        if key in keys:
            raise UserError(f"{option}: given twice")
        keys[key] = value
    return keys


def _is_known(sub: CommandParser, key: str) -> bool:
    from vqvae.config import is_key

    if "data" in sub.keys:
        return key in _names(sub)
    return any(is_key(stage, key) for stage in _STAGES[sub.keys])


def _meant(sub: CommandParser, option: str, key: str) -> str:
    from vqvae.config import closest_key

    found = closest_key(key, _names(sub))
    return sub.meant(option, found and f"--{found}")


def _names(sub: CommandParser) -> list[str]:
    from vqvae.config import key_names

    if "data" in sub.keys:
        return _reading(sub.keys)
    return [name for stage in _STAGES[sub.keys] for name in key_names(stage)]


def _reading(takes: str) -> list[str]:
    """Return the keys about reading images: where a whole split is read, nothing is held out for validation."""
    from vqvae.config import reading_keys

    return [key for key in reading_keys() if takes == "data" or key != "data.validation"]


def _values(sub: CommandParser, key: str) -> str:
    from vqvae.config import values_of

    found = (values_of(stage, key) for stage in _STAGES[sub.keys])
    return next(filter(None, found), "a value of the recipe's key")


def keys_page(takes: str) -> str:
    """Return the keys that a command takes, each with its values, default and meaning, as lines for a terminal."""
    from vqvae.config import changeable_keys, groups_of

    width = min(max(shutil.get_terminal_size().columns - 2, _NARROWEST), _WIDEST)
    if takes == "run":
        keys = dict.fromkeys(key for stage in _STAGES[takes] for key in changeable_keys(stage))
        text = f"keys that may change, each as an option (--training.log_every 10): {', '.join(keys)}. "
        return fill(f"{text}vqvae train --help and vqvae prior --help say what they mean.", width)
    shown = _reading(takes) if "data" in takes else None
    lines = _wrapped(_ABOUT[takes], width)
    for group in groups_of(_STAGES[takes][0]):
        keys = [key for key in group.keys if key.name in (shown or [key.name]) and key.name != "tokenizer"]
        if keys:
            lines += ["", *_title(group, width, takes), *(line for key in keys for line in _entry(key, width))]
    return "\n".join(lines)


def _title(group: "Group", width: int, takes: str) -> list[str]:
    kind = f" of kind {group.kind}" if group.kind else ""
    name = f"{group.name}{kind}: " if group.name else ""
    own = " A key that is not given has the value that the tokenizer was trained with."
    return _wrapped(
        f"{name}{_plain(group.meaning)}{own if takes == 'prior' and group.name == 'data' else ''}", width
    )


def _entry(key: "Key", width: int) -> list[str]:
    default = f" (default: {key.default})" if key.default else ""
    head = _wrapped(f"--{key.name}  {key.values}{default}", width, "  ", "        ")
    return head + _wrapped(_plain(key.meaning), width, "      ", "      ")


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _plain(text: str) -> str:
    return text.replace("``", "")
