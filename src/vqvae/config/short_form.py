"""The short form of a tokenizer's recipe: keys of the network may stand directly under ``model``.

``model: {width: 64}`` and ``--model.width 64`` mean ``model.network.width``. Configs are written in the long form.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.networks import NetworkConfig


def long_key(key: str, stage: Any) -> str:
    """Return ``model.network.width`` for ``model.width``; any other key as it is."""
    group, _, rest = key.partition(".")
    is_short = stage == "tokenizer" and group == "model" and rest.partition(".")[0] in _network_keys()
    return f"model.network.{rest}" if is_short else key


def long_form(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a recipe's values in the long form; the given mapping stays as it is.

    Raises:
        UserError: when a key stands in both places.
    """
    model = values.get("model")
    if values.get("stage") != "tokenizer" or not isinstance(model, Mapping):
        return values
    given = cast(Mapping[str, Any], model)
    short = {key: value for key, value in given.items() if key in _network_keys()}
    network = given.get("network")
    if not short or not isinstance(network, Mapping | None):
        return values
    long = dict(cast(Mapping[str, Any], network or {}))
    for key in short.keys() & long.keys():
        raise UserError(f"{where}: model.{key} is short for model.network.{key}; give one of the two")
    others = {key: value for key, value in given.items() if key not in short and key != "network"}
    return {**values, "model": {"network": {**long, **short}, **others}}


def _network_keys() -> set[str]:
    """Return the keys of all kinds of network that are no keys of the tokenizer itself."""
    names = {field.name for kind in NetworkConfig.kinds().values() for field in fields(kind)}
    return names - {field.name for field in fields(VQVAE.Config)} - {"kind"}
