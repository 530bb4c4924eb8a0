"""The classes that a dataset card lists: the ``README.md`` of a snapshot of the Hub, beside its files."""

from pathlib import Path
from typing import Any, cast

import yaml

_LARGEST = 2**20  # bytes
_DEEP = 100


def classes_in_card(card: Path, label: str) -> tuple[str, ...] | None:
    """Return the classes of a column that a dataset card lists for all configurations alike, or None.

    The card begins with YAML, which has a key ``dataset_info`` with the features of each configuration.

    Args:
        card: the file.
        label: the column of labels.
    """
    infos: Any = _front_matter(card).get("dataset_info")
    configurations: list[Any] = cast(list[Any], infos) if isinstance(infos, list) else [infos]
    found = {_classes(info, label) for info in configurations}
    return found.pop() if len(found) == 1 else None


def _front_matter(card: Path) -> dict[str, Any]:
    try:
        if card.stat().st_size > _LARGEST:
            return {}
        before, _, rest = card.read_text("utf-8").partition("---\n")
        text = rest.partition("\n---")[0]
        values: Any = yaml.safe_load(text) if not before.strip() and _is_shallow(text) else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError):
        return {}
    return cast(dict[str, Any], values) if isinstance(values, dict) else {}


def _is_shallow(text: str) -> bool:
    """Tell whether YAML cannot be nested deeply, which takes PyYAML seconds to read."""
    brackets = text.count("[") + text.count("{")
    return brackets < _DEEP and all(_is_shallow_line(line) for line in text.splitlines())


def _is_shallow_line(line: str) -> bool:
    return len(line) - len(line.lstrip()) < _DEEP and line.count("- ") < _DEEP


def _classes(info: Any, label: str) -> tuple[str, ...] | None:
    """Return the classes of a column in one configuration: names by number, ``{'0': airplane, '1': ...}``."""
    try:
        [feature] = [feature for feature in info["features"] if feature["name"] == label]
        names = feature["dtype"]["class_label"]["names"]
        return tuple(str(names[str(number)]) for number in range(len(names)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None
