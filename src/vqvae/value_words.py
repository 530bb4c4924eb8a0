"""Describe in words the values that a key takes, from its type, and what is wrong with a value."""

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vqvae.whole_numbers import LARGEST, SMALLEST


def values_in_words(annotation: Any) -> str:
    """Return the values of a type in words: ``an integer above 0``, ``strict or crop``, ``true or false``."""
    return _either(list(_choices(annotation, ())))


def refusal(key: str, annotation: Any, error: ErrorDetails) -> str:
    """Return a line about a value that pydantic refused: the key, the values it takes, the value it got.

    Args:
        key: the key.
        annotation: the type of the key.
        error: pydantic's error.
    """
    given = error["input"]
    if error["type"] == "value_error":
        message = error["msg"].removeprefix("Value error, ")[:200]
        return f"{key}: {message}" if shown(given) in message else f"{key}: {message}, got {shown(given)}"
    if isinstance(given, int) and not SMALLEST <= given <= LARGEST:
        return f"{key}: {shown(given)} does not fit into 64 bits"
    return f"{key}: must be {values_in_words(annotation)}, got {shown(given)}"


def shown(value: Any) -> str:
    """Return a value for a message: in Python's notation, at most 100 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes at most 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else text[:100] + "..."


def in_yaml(value: Any) -> str:
    """Return a value in YAML's notation, in one line."""
    if isinstance(value, bool | NoneType | tuple | list):
        return json.dumps(value)
    return str(value)


def plain_type(annotation: Any) -> Any:
    """Return a type without its ``Annotated``."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _choices(annotation: Any, limits: tuple[Any, ...]) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _choices(inner, (*limits, *more))
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _choices(part, limits)
    elif get_origin(annotation) is Literal:
        yield from map(in_yaml, get_args(annotation))
    elif get_origin(annotation) is tuple:
        yield _list_of(get_args(annotation))
    elif annotation is bool:
        yield from ("true", "false")
    elif annotation is NoneType:
        yield "null"
    elif annotation in (int, float):
        yield f"{'an integer' if annotation is int else 'a number'}{_range(limits)}"
    else:
        yield "text" if annotation is str else "a group of keys"


def _list_of(parts: tuple[Any, ...]) -> str:
    inner = values_in_words(parts[0]).removeprefix("an ").removeprefix("a ")
    if get_origin(parts[0]) is Literal:
        return f"a list of {inner}"
    noun, _, limits = inner.partition(" ")
    many = f"{noun.rstrip(',')}s{',' if noun.endswith(',') else ''} {limits}".strip()
    return f"a list of {many}" if parts[-1] is Ellipsis else f"{len(parts)} {many}"


def _range(limits: tuple[Any, ...]) -> str:
    """Return the range of limits such as ``Field(gt=0)`` in words: `` above 0``, `` from 0 to 1``, ..."""
    above, least, below, most = (_bound(limits, name) for name in ("gt", "ge", "lt", "le"))
    least = None if least == SMALLEST else least
    most = None if most == LARGEST else most
    low = f"above {above}" if above is not None else f"from {least}" if least is not None else ""
    high = f"below {below}" if below is not None else f"{most}" if most is not None else ""
    if low and high:
        return f" {low} to {high}"
    if least is not None and above is None:
        return f" of at least {least}"
    return f" {low}" if low else f" {'' if below is not None else 'of at most '}{high}" if high else ""


def _bound(limits: tuple[Any, ...], name: str) -> Any:
    found = [
        getattr(bound, name)
        for limit in limits
        for bound in (limit.metadata if isinstance(limit, FieldInfo) else (limit,))
        if getattr(bound, name, None) is not None
    ]
    return (max if name in ("gt", "ge") else min)(found, default=None)


def _either(choices: list[str]) -> str:
    *most, last = dict.fromkeys(choices)
    return f"{', '.join(most)} or {last}" if most else last
