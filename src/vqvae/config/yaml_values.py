"""Read YAML as plain values, with limits for files of unknown origin."""

import re
from pathlib import Path
from typing import Any

import yaml

from vqvae.errors import UserError

# a config has a few hundred lines; a larger file is not a config
_MOST_CHARACTERS, _DEEPEST = 2**15, 32
_QUOTED_OR_COMMENT = re.compile(r"""'[^']*'|"[^"]*"|(?:^|\s)\#[^\n]*""")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UserError: when the file cannot be read, and as ``parse_yaml``.
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
    """Return the mapping in a YAML text; error messages begin with ``where``.

    Raises:
        UserError: when the text is not YAML or not a mapping, or when it exceeds the limits of a config: 32 Ki
            characters, 32 levels, and no aliases, since a few lines with aliases can expand to gigabytes.
    """
    values = plain_value(text, where)
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected keys and values, such as 'training: {{steps: 3000}}'")
    return values  # pyright: ignore[reportUnknownVariableType]


def plain_value(text: str, where: str) -> Any:
    """Return the value in a YAML text; error messages begin with ``where``.

    Raises:
        UserError: as ``parse_yaml``, except that any value is accepted.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"{where}: more than {_MOST_CHARACTERS} characters: no config is that long")
    too_deep = f"{where}: aliases, or more than {_DEEPEST} levels: write the values out"
    # bytes of a path that are not UTF-8 are written as \\udc80 to \\udcff, which libyaml refuses
    loader: Any = yaml.SafeLoader if "\\udc" in text.lower() else _LOADER
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise UserError(too_deep)
        return yaml.load(text, Loader=loader)
    # errors other than YAMLError come from tags that do not fit: !!int '', !!bool perhaps, !!timestamp never
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        if _open_brackets(text, error) > _DEEPEST:
            raise UserError(too_deep) from None
        problem = " ".join(str(error).split())
        raise UserError(f"{where}: not YAML: {problem[:200]}") from None


def _open_brackets(text: str, error: Exception) -> int:
    # PyYAML 6.0.4 refuses deep nesting before its first event, with its own message
    mark = getattr(error, "problem_mark", None)
    plain = _QUOTED_OR_COMMENT.sub("", text[: mark.index]) if mark is not None else ""
    return sum(plain.count(opening) for opening in "[{") - sum(plain.count(closing) for closing in "]}")
