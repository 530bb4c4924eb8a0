"""Set one key in the values of a recipe."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from vqvae.config.keys import STAGES, entry_names, hints_of, is_open, kind_of_entry, kinds_of_entries
from vqvae.config.short_form import long_key
from vqvae.errors import UserError, did_you_mean
from vqvae.value_words import plain_type


def set_key(values: dict[str, Any], key: str, value: Any, *, stage: str) -> None:
    """Set ``a.b.c`` to a plain value; a mapping sets each of its keys. A key may have the short form.

    An entry of a list of components is named by its kind: ``losses.l1.weight``; the second entry of the kind is
    ``losses.l1-2``. If the list has no entry of the kind, it gets one.

    If the ``kind`` of a group changes, the keys that the new kind does not have are removed.

    Args:
        values: the values of the recipe, changed in place.
        key: the key, dotted.
        value: the plain value.
        stage: ``tokenizer`` or ``prior``.

    Raises:
        UserError: when a part of the key is a value, not a group, and for an entry that the list does not have.
    """
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, Any], value)
        for name in sorted(inner, key=lambda name: name != "kind"):
            set_key(values, f"{key}.{name}", inner[name], stage=stage)
        return
    *groups, last = long_key(key, values.get("stage", stage)).split(".")
    here: Any = STAGES.get(values.get("stage", stage))
    found: Any = values
    for group in groups:
        if kinds := kinds_of_entries(here):
            here, inner = kinds.get(kind_of_entry(group)), _entry(found, group, kinds, key)
        else:
            here = _inside(here, group, found)
            inner: Any = found.setdefault(group, [] if kinds_of_entries(here) else {})
        if not isinstance(inner, list if kinds_of_entries(here) else dict):
            raise UserError(f"{key}: '{group}' is a value, not a group of keys")
        found = cast(Any, inner)
    if last == "kind" and found.get("kind") != value and is_open(here) and value in here.kinds():
        for name in found.keys() - {field.name for field in fields(here.kinds()[value])}:
            del found[name]
    found[last] = value


def _inside(config: Any, name: str, values: Mapping[str, Any]) -> Any:
    """Return the type of a config's field; in a base config, the field of the kind that the values have."""
    if is_open(config):
        config = config.kinds().get(values.get("kind", config.default_kind))
    hints = hints_of(config) if config is not None and hasattr(config, "__dataclass_fields__") else {}
    return plain_type(hints.get(name))


def _entry(entries: list[Any], name: str, kinds: Mapping[str, Any], key: str) -> Any:
    """Return the entry of a list of components that has a name; the first entry of a kind is made if missing."""
    names = entry_names(str(entry.get("kind")) if isinstance(entry, dict) else "" for entry in entries)
    if name in names:
        return entries[names.index(name)]
    if name not in kinds:
        raise UserError(f"{key}: no entry '{name}' in the recipe's list{did_you_mean(name, {*names, *kinds})}")
    entries.append({"kind": name})
    return entries[-1]
