"""Describe what is wrong with a config in one line that names the key."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

from pydantic_core import ErrorDetails

from vqvae.component import HINT
from vqvae.config.keys import STAGES, closest_key, hints_of, is_open, key_names
from vqvae.errors import did_you_mean
from vqvae.value_words import plain_type, refusal, shown

_COMMANDS = {"tokenizer": "train", "prior": "prior"}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def first_mistake(error: ErrorDetails, values: Mapping[str, Any]) -> str:
    """Return a line about pydantic's first error in a config: the key, the values it takes, the value it got."""
    key, annotation, siblings = _locate(error["loc"])
    kind, given = error["type"], error["input"]
    if kind in _UNKNOWN:
        return f"unknown key '{key}'{_meant(key, siblings, str(values.get('stage')))}"
    if kind == "union_tag_invalid":
        return f"stage: must be tokenizer or prior, got {shown(values.get('stage'))}"
    if kind == "kind":
        return f"{key}: {_unknown_kind(error, given)}"
    if kind == "missing":
        return f"{key}: a value is missing"
    return refusal(key or "config", annotation, error)


def _locate(loc: Sequence[str | int]) -> tuple[str, Any, list[str]]:
    """Return the dotted key of pydantic's path, the key's type, and the keys beside it.

    Pydantic's path also contains the stage and the kinds, which are not keys.
    """
    key: list[str] = []
    here: Any = STAGES.get(str(loc[0]), "group") if loc else "group"
    siblings: list[str] = []
    for part in loc[1:]:
        if is_open(here):
            here = here.kinds().get(part, "group")
        elif hasattr(here, "__dataclass_fields__"):
            siblings = list(hints_of(here))
            key.append(str(part))
            here = hints_of(here).get(str(part), "group")
            here = plain_type(here) if _is_group(here) else here
        elif isinstance(part, int):
            key.append(str(part))
            parts = get_args(plain_type(here))
            here = plain_type(parts[0]) if parts and _is_entry(parts[0]) else here  # of a list
    return ".".join(key)[:100], here, siblings


def _is_entry(annotation: Any) -> bool:
    """Say whether a list of a type is refused entry by entry: a list of groups, or of words."""
    return _is_group(annotation) or get_origin(annotation) is Literal


def _is_group(annotation: Any) -> bool:
    annotation = plain_type(annotation)
    return is_open(annotation) or hasattr(annotation, "__dataclass_fields__")


def _meant(key: str, siblings: list[str], stage: str) -> str:
    """Return the end of an error: the closest key, else the keys of the group, else where keys are listed."""
    prefix = key.rpartition(".")[0]
    beside = [f"{prefix}.{name}" if prefix else name for name in siblings if name != "stage"]
    every = key_names(stage) if stage in STAGES else []
    elsewhere = [name for name in every if name.rpartition(".")[0] != prefix]  # here, other kinds may have keys
    found = closest_key(key, beside) or closest_key(key, [*beside, *elsewhere])
    if found:
        return f"; did you mean '{found}'?"
    listed = ", ".join(beside)
    if len(listed) <= 250:
        return f"; known here: {listed}" if listed else "; known here: none"
    return f"; vqvae {_COMMANDS.get(stage, 'train')} --help lists the keys"


def _unknown_kind(error: ErrorDetails, given: Any) -> str:
    """Say what is wrong with the kind of a component: missing, unknown, or of a module that is not imported."""
    context = error.get("ctx", {})
    component, known = context["component"], context["kinds"].split(",")
    mapping = cast(Mapping[str, Any], given if isinstance(given, Mapping) else {})
    kind, module = mapping.get("kind"), mapping.get(HINT)
    if kind is None:
        what = f"must be a group of keys with a kind of {component}, got {shown(given)}"
        return f"{what}; known kinds: {', '.join(known)}"
    missing = f"no {component} of kind {shown(kind)} is known"
    if isinstance(module, str) and re.fullmatch(r"[\w.]{1,100}", module):
        if module == "__main__":
            return f"{missing}: it was defined in a script or notebook: define it or import its module first"
        return (
            f"{missing}: it is of the module {module}: pass --plugin {module}, or import {module} in Python first"
        )
    return f"{missing}{did_you_mean(str(kind)[:100], known)}; a component of your own needs --plugin MODULE"
