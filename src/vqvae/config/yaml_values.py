"""YAML as plain values, and one key of them set from the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vqvae.errors import UserError

# A config is some hundred lines; a file of unknown origin may be anything.
_MOST_CHARACTERS, _DEEPEST = 2**15, 32
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file.

    Raises:
        UserError: when it cannot be read, or as ``parse_yaml``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not YAML: not UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return YAML's mapping; ``where`` begins the error line.

    Raises:
        UserError: when it is not YAML, no mapping, or more than a config can be: over 32 Ki characters,
            nested more than 32 deep, or with aliases, of which a few lines make gigabytes.
    """
    values = _plain(text, where)
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected keys and values, such as 'training: {{steps: 3000}}'")
    return values  # pyright: ignore[reportUnknownVariableType]


def _plain(text: str, where: str) -> Any:
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"{where}: more than {_MOST_CHARACTERS} characters: no config is that long")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise UserError(f"{where}: aliases, or more than {_DEEPEST} levels: write the values out")
        return yaml.load(text, Loader=_LOADER)
    # the latter of tags on what they do not fit: !!int '', !!bool perhaps, !!timestamp never
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{where}: not YAML: {problem[:200]}") from None


def set_key(values: dict[str, Any], key: str, value: str, *, kinds: Mapping[str, set[str]]) -> None:
    """Set ``a.b.c`` to a value in YAML's notation.

    Where a group's ``kind`` changes, the keys that the new kind does not have go: they were meant for the old.

    Args:
        values: changed in place.
        key: dotted.
        value: in YAML's notation.
        kinds: the keys of each kind, by its name.

    Raises:
        UserError: when a part of the key is a value, not a group, or the value is not YAML.
    """
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"--{key}: '{group}' is a value, not a group of keys")
    new = _plain(value, f"--{key}")
    if last == "kind" and values.get("kind") != new:
        for name in values.keys() - kinds.get(str(new), values.keys()):
            del values[name]
    values[last] = new
