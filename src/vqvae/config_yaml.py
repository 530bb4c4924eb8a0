"""YAML as plain values, and one key of them set from the command line."""

from collections.abc import Mapping
from typing import Any

import yaml

from vqvae.errors import UserError


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return YAML's mapping; ``where`` begins the error line.

    Raises:
        UserError: when it is not YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{where}: not YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected keys and values, such as 'training: {{steps: 3000}}'")
    return values  # pyright: ignore[reportUnknownVariableType]


def set_key(values: dict[str, Any], key: str, value: str, *, kinds: Mapping[str, set[str]]) -> None:
    """Set ``a.b.c`` to a value in YAML's notation.

    Where a group's ``kind`` changes, the keys that the new kind does not have go: they were meant for the old.

    Args:
        values: changed in place.
        key: dotted.
        value: in YAML's notation.
        kinds: the keys of each kind, by its name.

    Raises:
        UserError: when a part of the key is a value, not a group.
    """
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"--{key}: '{group}' is a value, not a group of keys")
    new = yaml.safe_load(value)
    if last == "kind" and values.get("kind") != new:
        for name in values.keys() - kinds.get(str(new), values.keys()):
            del values[name]
    values[last] = new
