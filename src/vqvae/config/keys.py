"""The keys of a recipe, each with its values, default and meaning; all are derived from the config dataclasses."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from vqvae.component import Config, component_class, meanings_of
from vqvae.config.runs import DataConfig, PriorConfig, RunConfig, TokenizerConfig
from vqvae.config.short_form import long_key
from vqvae.errors import UserError, closest
from vqvae.value_words import in_yaml, plain_type, values_in_words

STAGES: dict[str, type[RunConfig]] = {"tokenizer": TokenizerConfig, "prior": PriorConfig}


# short names of some keys on the command line and in Python
SHORT_NAMES = {
    "data": "data.spec",
    "strict": "data.strict",
    "steps": "training.steps",
    "precision": "training.precision",
    "device": "training.device",
    "init": "init",
}
_TRAINING_ALONE = ("spec", "channels", "flip", "crops", "stream", "interleave")


class Key(NamedTuple):
    """A key of a recipe.

    Attributes:
        name: dotted, such as ``training.steps``.
        values: the values that the key takes, in words.
        default: the default in YAML's notation; empty if there is none.
        meaning: what the key means, in words.
    """

    name: str
    values: str
    default: str
    meaning: str


class Group(NamedTuple):
    """Keys with a common prefix.

    Attributes:
        name: the common prefix; empty for the keys at the top.
        kind: the kind of component that has the keys; empty if every recipe has them.
        meaning: what the group is about.
        keys: the keys, in the order of the dataclass's fields.
    """

    name: str
    kind: str
    meaning: str
    keys: tuple[Key, ...]


def groups_of(stage: str) -> list[Group]:
    """Return all keys of a stage's recipes, ``tokenizer`` or ``prior``, in groups."""
    return list(_groups(STAGES[stage], "", "", ()))


def key_names(stage: str) -> list[str]:
    """Return the names of all keys of a stage's recipes, each once."""
    return list(dict.fromkeys(key.name for group in groups_of(stage) for key in group.keys))


def values_of(stage: str, name: str) -> str:
    """Return the values that a key takes, in words; empty for no key. The short form of a key is understood."""
    keys = (key for group in groups_of(stage) for key in group.keys)
    return next((key.values for key in keys if key.name == long_key(name, stage)), "")


def reading_keys() -> list[str]:
    """Return the keys about reading images, which commands take that do not train."""
    names = [field.name for field in fields(DataConfig) if field.name not in _TRAINING_ALONE]
    return [f"data.{name}" for name in names]


def full_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their keys: ``steps`` becomes ``training.steps``, and ``a__b`` becomes ``a.b``.

    Raises:
        UserError: for two names of one key.
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        key = SHORT_NAMES.get(name, name.replace("__", "."))
        if key in found:
            raise UserError(f"{name} is given twice: it is short for {key}")
        found[key] = value
    return found


def is_key(stage: str, name: str) -> bool:
    """Say whether some recipe of a stage has the key, whatever the kinds of its components.

    The short form of a key, such as ``model.width``, counts.
    """
    types: list[Any] = [STAGES[stage]]
    for part in long_key(name, stage).split("."):
        configs = [config for annotation in types for config in _configs(annotation)]
        entries = [kinds_of_entries(annotation).get(kind_of_entry(part)) for annotation in types]
        types = [hints[part] for config in configs if part in (hints := hints_of(config))]
        types += [entry for entry in entries if entry is not None]
    return bool(types)


def closest_key(name: str, names: Iterable[str]) -> str | None:
    """Return the key that is closest to an unknown name; None if no key is close.

    The last part of the name is compared: ``batch_size`` finds ``training.batch_size``. Initials are compared too:
    ``lr`` finds ``training.learning_rate``.
    """
    prefix, _, last = name.rpartition(".")
    others = [other for other in names if other != name]
    by_last: dict[str, str] = {}
    # if several keys have the same last part: the key in the same group as the given name, else the shortest key
    for other in sorted(others, key=lambda other: (not _beside(other, prefix), other.count("."))):
        by_last.setdefault(other.rpartition(".")[2], other)
    if last in by_last:
        return by_last[last]
    beside = [other.rpartition(".")[2] for other in others if _beside(other, prefix)]
    found = closest(last, beside) or closest(last, by_last)
    if found is None:
        found = next((key for key in by_last if _initials(key) == last and len(last) > 1), None)
    return None if found is None else by_last[found]


def hints_of(config: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields, with their limits."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config)}


def is_open(annotation: Any) -> bool:
    """Say whether a type is a base config: a field of this type takes the config of any kind."""
    return isinstance(annotation, type) and issubclass(annotation, Config) and "kind" not in annotation.__dict__


def kinds_of_entries(annotation: Any) -> Mapping[str, type[Config]]:
    """Return the configs by kind that the entries of a list of components may have; empty for any other type."""
    parts = get_args(annotation)
    is_list = get_origin(annotation) is tuple and is_open(parts[0])
    return parts[0].kinds() if is_list else {}


def kind_of_entry(name: str) -> str:
    """Return the kind of an entry of a list of components: ``l1`` for ``l1``, and for the second one, ``l1-2``."""
    return re.sub(r"-\d+$", "", name)


def entry_names(kinds: Iterable[str]) -> list[str]:
    """Return the names of the entries of a list of components, from their kinds: ``l1``, ``l1-2``, ..."""
    count: dict[str, int] = {}
    found: list[str] = []
    for kind in kinds:
        count[kind] = count.get(kind, 0) + 1
        found.append(kind if count[kind] == 1 else f"{kind}-{count[kind]}")
    return found


def _configs(annotation: Any) -> Sequence[type]:
    """Return the dataclasses that a type may be."""
    annotation = plain_type(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return [config for part in get_args(annotation) for config in _configs(part)]
    if is_open(annotation):
        return list(annotation.kinds().values())
    return [annotation] if is_dataclass(annotation) and isinstance(annotation, type) else []


def _groups(config: type, name: str, kind: str, outer: tuple[type, ...]) -> Iterator[Group]:
    """Yield the group of a dataclass's own keys, then the groups inside it.

    Args:
        config: the dataclass.
        name: the prefix of its keys.
        kind: its kind, if it configures a component.
        outer: the base configs of the components that contain it.
    """
    meanings = meanings_of(config)
    keys: list[Key] = []
    inner: list[tuple[str, Any, Field[Any]]] = []
    for field in fields(config):
        annotation = plain_type(hints_of(config)[field.name])
        at = f"{name}.{field.name}" if name else field.name
        if field.name in ("stage", "kind"):
            continue
        if is_open(annotation) and annotation in outer:
            values = f"a {annotation.component()}, with a kind and its keys as listed for {name}"
            keys.append(Key(at, values, _default_kind(field), meanings.get(field.name, "")))
        elif _configs(annotation):
            inner.append((at, annotation, field))
        else:
            if kinds_of_entries(annotation):
                inner.append((at, annotation, field))
            values = _entries(annotation) or values_in_words(hints_of(config)[field.name])
            keys.append(Key(at, values, _default(field), meanings.get(field.name, "")))
    yield Group(name, kind, summary(config), tuple(keys))
    for at, annotation, field in inner:
        if is_open(annotation):
            default = _default_kind(field)
            kinds = sorted(annotation.kinds(), key=lambda kind: kind != default)  # the default first
            yield _kinds(at, annotation.component(), kinds, default)
            for inner_kind in kinds:
                yield from _groups(annotation.kinds()[inner_kind], at, inner_kind, (*outer, annotation))
        elif entries := kinds_of_entries(annotation):
            for inner_kind, entry in entries.items():
                yield from _groups(entry, f"{at}.{inner_kind}", "", outer)
        else:
            yield from _groups(annotation, at, "", outer)


def _entries(annotation: Any) -> str | None:
    """Return what a list of components takes, in words; None for any other type."""
    kinds = kinds_of_entries(annotation)
    return f"a list of groups of keys, each with a kind: {', '.join(kinds)}" if kinds else None


def _kinds(name: str, component: str, kinds: Sequence[str], default: str) -> Group:
    about, meaning = f"The {component}. Its other keys depend on its kind.", f"which {component} to use."
    return Group(name, "", about, (Key(f"{name}.kind", ", ".join(kinds), default, meaning),))


def summary(config: type) -> str:
    """Return the first line of the docstring of the config's component; of the config itself if it has none."""
    return (component_class(config).__doc__ or "").strip().partition("\n")[0]


def _default(field: "Field[Any]") -> str:
    value = _default_value(field)
    return "" if value is MISSING else in_yaml(value)


def _default_kind(field: "Field[Any]") -> str:
    return str(getattr(_default_value(field), "kind", ""))


def _default_value(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _beside(other: str, prefix: str) -> bool:
    return other.rpartition(".")[0] == prefix


def _initials(name: str) -> str:
    return "".join(part[0] for part in name.split("_") if part)
