"""Recipe keys as options: checked against the keys that exist, and listed by ``--help``."""

import logging
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
    "data sets": ("tokenizer",),
    "whole data": ("tokenizer",),
}
_NARROWEST, _WIDEST = 60, 115
_RECIPE = (
    "recipe keys. Each key is also an option, such as --training.steps 500. An option overrides the recipe. The "
    "default is used if neither the option nor the recipe gives a value."
)
_LOG = logging.getLogger(__name__)
_ABOUT_READING = (
    "keys about reading images. Each key is also an option. A key that is not given has the value that the run "
    "was trained with."
)
_ABOUT = {
    "tokenizer": _RECIPE,
    "prior": _RECIPE,
    "data": _ABOUT_READING,
    "data sets": "keys about reading images. Each key is also an option, and applies to both sides.",
    "whole data": _ABOUT_READING,
}


def read_keys(sub: CommandParser, found: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Return values by recipe key, from the options that argparse does not know.

    Of an option that is given twice, the last value counts, as with every other option; one line says so.

    Raises:
        UserError: for an option that is not a key of the command, and for a key without a value.
    """
    keys: dict[str, str] = {}
    for option, value in found:
        key = option.removeprefix("--")
        if not _is_known(sub, key):  # losses.l1-2 is a key with a dash
            key = key.replace("-", "_")
        if not _is_known(sub, key):
            raise UserError(f"unknown option {option}{_meant(sub, option, key)}")
        if value is None:
            raise UserError(f"{option}: expected a value: {_values(sub, key)}")
        if key in keys:
            _LOG.warning("%s: given twice; the last value, %s, counts", option, value)
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
    """Return the keys about reading images; a command that reads whole splits holds out no validation images."""
    from vqvae.config import reading_keys

    return [key for key in reading_keys() if takes != "whole data" or key != "data.validation"]


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
        text = f"keys that may change, each as an option such as --training.log_every 10: {', '.join(keys)}. "
        return fill(f"{text}vqvae train --help and vqvae prior --help describe the keys.", width)
    shown = _reading(takes) if "data" in takes else None
    lines = [] if shown else [*_wrapped(f"shipped recipes: {', '.join(_recipes(takes))}", width), ""]
    lines += _wrapped(_ABOUT[takes], width)
    for group in groups_of(_STAGES[takes][0]):
        keys = [
            key
            for key in group.keys
            if key.name in (shown or [key.name]) and key.name not in ("tokenizer", "init")
        ]
        if keys or (group.kind and shown is None):
            with_default = shown is None and not (takes == "prior" and group.name == "data")
            entries = (_entry(key, width, with_default=with_default) for key in keys)
            lines += ["", *_title(group, width, takes), *(line for entry in entries for line in entry)]
    return "\n".join(lines)


def _recipes(stage: str) -> list[str]:
    from vqvae.config import read_yaml, recipes

    return [name for name, file in recipes().items() if read_yaml(file).get("stage") == stage]


def _title(group: "Group", width: int, takes: str) -> list[str]:
    kind = f" of kind {group.kind}" if group.kind else ""
    name = f"{group.name}{kind}: " if group.name else ""
    own = " A key that is not given has the value that the tokenizer was trained with."
    return _wrapped(
        f"{name}{_plain(group.meaning)}{own if takes == 'prior' and group.name == 'data' else ''}", width
    )


def _entry(key: "Key", width: int, *, with_default: bool) -> list[str]:
    default = f" (default: {key.default})" if key.default and with_default else ""
    head = _wrapped(f"--{key.name}  {key.values}{default}", width, "  ", "        ")
    return head + _wrapped(_plain(key.meaning), width, "      ", "      ")


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _plain(text: str) -> str:
    return text.replace("``", "")
