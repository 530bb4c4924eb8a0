"""Every kind of quantizer, small, from the configs that are defined: a new kind is tested as soon as it exists."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tests.quantizers import newcomer as newcomer  # a kind from outside the package is a kind like any other

from vqvae.component import component_class
from vqvae.quantizers import QuantizerConfig

SMALL = {
    "num_codes": 12, "dim": 4, "bits": 5, "levels": (4, 8, 5), "channels": 6, "depth": 3, "anneal_updates": 4,
    "revive_every": 3, "revive_below": 0.4,
}  # fmt: skip


def small(config: type[QuantizerConfig], **changes: Any) -> QuantizerConfig:
    """Return a config of a kind, with small settings by their names where the kind has them."""
    settings = {}
    for field in fields(config):
        default = field.default if field.default is not MISSING else None
        if is_inner(config, field.name):
            settings[field.name] = small(type(getattr(config(), field.name)), **changes)
        elif field.name in (wanted := {**SMALL, **changes}) and type(default) is type(wanted[field.name]):
            settings[field.name] = wanted[field.name]
    return config(**settings)


def is_inner(config: type[QuantizerConfig], name: str) -> bool:
    """Say whether a setting is the config of another quantizer."""
    return get_type_hints(config)[name] is QuantizerConfig


def choices(config: type[QuantizerConfig], name: str) -> tuple[Any, ...]:
    """Return the values of a setting that is one of several words."""
    hint = get_type_hints(config)[name]
    return get_args(hint) if get_origin(hint) is Literal and name != "kind" else ()


def can_be_built(config: QuantizerConfig) -> bool:
    """Say whether a config can be built: some kinds refuse some others inside."""
    try:
        config.build()
    except ValueError:
        return False
    return True


@cache
def kinds() -> dict[str, QuantizerConfig]:
    """Return a small config of each kind."""
    return {kind: small(config) for kind, config in sorted(QuantizerConfig.kinds().items())}


@cache
def shipped() -> dict[str, QuantizerConfig]:
    """Return a small config of each kind of the package itself."""
    return {kind: config for kind, config in kinds().items() if type(config).__module__.startswith("vqvae.")}


@cache
def variants() -> dict[str, QuantizerConfig]:
    """Return configs of all kinds, of their words, of several codes a position, and of kinds inside kinds."""
    return {name: config for kind in kinds() for name, config in _variants(kind) if can_be_built(config)}


def _variants(kind: str) -> Iterator[tuple[str, QuantizerConfig]]:
    base = kinds()[kind]
    yield kind, base
    for field in fields(base):
        for word in choices(type(base), field.name):
            if word != getattr(base, field.name):
                yield f"{kind}-{word}", replace(base, **{field.name: word})
        if field.name == "codes_per_position":
            yield f"{kind}-n3", replace(base, codes_per_position=3)
        if field.name == "dropout":
            yield f"{kind}-dropout", replace(base, dropout=1.0)
        if field.name == "codebook_sizes" and getattr(base, field.name) == ():
            yield f"{kind}-sizes", replace(base, codebook_sizes=(9, 12, 5))
        if is_inner(type(base), field.name):
            for other, inner in kinds().items():
                if type(inner) is not type(getattr(base, field.name)) and _can_hold(base, field.name, inner):
                    yield f"{kind}-of-{other}", replace(base, **{field.name: inner})


def _can_hold(base: QuantizerConfig, name: str, inner: QuantizerConfig) -> bool:
    try:
        replace(base, **{name: inner})
    except ValueError:
        return False
    return True


def class_of(config: QuantizerConfig) -> type[Any]:
    """Return the quantizer's class."""
    return component_class(type(config))
