"""Set one key in the values of a recipe."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from vqvae.config.keys import STAGES, hints_of, is_open
from vqvae.config.short_form import long_key
from vqvae.errors import UserError
from vqvae.value_words import plain_type


def set_key(values: dict[str, Any], key: str, value: Any, *, stage: str) -> None:
    """Set ``a.b.c`` to a plain value; a mapping sets each of its keys. A key may have the short form.

    If the ``kind`` of a group changes, the keys that the new kind does not have are removed.

    Args:
        values: the values of the recipe, changed in place.
        key: the key, dotted.
        value: the plain value.
        stage: ``tokenizer`` or ``prior``.

    Raises:
        UserError: when a part of the key is a value, not a group.
    """
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, Any], value)
        for name in sorted(inner, key=lambda name: name != "kind"):
            set_key(values, f"{key}.{name}", inner[name], stage=stage)
        return
    *groups, last = long_key(key, values.get("stage", stage)).split(".")
    here: Any = STAGES.get(values.get("stage", stage))
    for group in groups:
        here = _inside(here, group, values)
        values = values.setdefault(group, {})
        if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"{key}: '{group}' is a value, not a group of keys")
    if last == "kind" and values.get("kind") != value and is_open(here) and value in here.kinds():
        for name in values.keys() - {field.name for field in fields(here.kinds()[value])}:
            del values[name]
    values[last] = value


def _inside(config: Any, name: str, values: Mapping[str, Any]) -> Any:
    """Return the type of a config's field; in a base config, the field of the kind that the values have."""
    if is_open(config):
        config = config.kinds().get(values.get("kind", config.default_kind))
    hints = hints_of(config) if config is not None and hasattr(config, "__dataclass_fields__") else {}
    return plain_type(hints.get(name))
