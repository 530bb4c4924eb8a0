"""Values that the config of a component refuses, for tests that its class refuses them too."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vqvae.component import Config
from vqvae.value_words import refusal

VALUES = (-1, 0, 1, 10**9, float("nan"), "no number", (), (2,), (3,) * 99)


def refused_values(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield settings of a config, each with a value out of its range, and the words of the refusal."""
    types = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        now = getattr(config, field.name)
        if field.name == "kind" or isinstance(now, Config):
            continue
        for value in VALUES:
            if isinstance(value, tuple) != isinstance(now, tuple):
                continue
            try:
                TypeAdapter(types[field.name], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                yield (
                    field.name,
                    value,
                    refusal(".".join([field.name, *map(str, first["loc"])]), types[field.name], first),
                )
