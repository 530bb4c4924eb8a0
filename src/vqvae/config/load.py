"""Recipes and YAML files to configs and back, overridden key by key; a mistake is one line that names its key."""

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from vqvae.component import Config
from vqvae.config.runs import DataConfig, PriorConfig, RunConfig, TokenizerConfig, TrainingConfig
from vqvae.config.yaml_values import read_yaml, set_key
from vqvae.errors import UserError, did_you_mean
from vqvae.models import VQVAE


def recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    folder = Path(str(resources.files("vqvae") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(
    name: str,
    stage: str,
    overrides: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a recipe by name or a YAML file by path, and apply overrides ``{"a.b": "VALUE"}`` in YAML's notation.

    Args:
        name: of a shipped recipe, or a path that ends in .yaml.
        stage: ``tokenizer`` or ``prior``.
        overrides: values by dotted key.
        base: the data's values where the recipe is silent.

    Raises:
        UserError: for a missing file, a file that is not a YAML mapping, another stage, an unknown key or a
            value out of its range, naming the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else recipes().get(name)
    if path is None:
        raise UserError(f"recipe '{name}'{did_you_mean(name, recipes())}; or give the path of a .yaml file")
    if not path.is_file():
        raise UserError(f"recipe {path}: no such file; the shipped ones: {', '.join(recipes())}")
    values = read_yaml(path)
    values.setdefault("stage", stage)
    if base is not None:
        own = values.get("data") or {}
        values["data"] = {**base, **own} if isinstance(own, dict) else own
    keys = {kind: {field.name for field in fields(config)} for kind, config in Config.kinds().items()}
    # a kind first: it says which of the recipe's settings stay, and the other overrides are for it
    for key, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith(".kind")):
        set_key(values, key, value, kinds=keys)
    if values["stage"] in ("tokenizer", "prior") and values["stage"] != stage:
        command = "train" if values["stage"] == "tokenizer" else "prior"
        raise UserError(f"recipe '{name}' is for stage '{values['stage']}': use vqvae {command}")
    return config_from(values, name)


def config_from(values: Mapping[str, Any], where: str) -> RunConfig:
    """Check a mapping and make the config of it; ``where`` begins the error line."""
    try:
        return _adapter(len(_configs())).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_line(error)}") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain values, as YAML and JSON hold them."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def to_yaml(config: RunConfig) -> str:
    """Return a config as YAML that ``load_config`` reads back."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    # the tags of unions ('tokenizer', 'ema') stand in pydantic's path, but in no YAML file
    tags = {"tokenizer", "prior", *Config.kinds()}
    *groups, last = [str(part) for part in first["loc"]] or ["config"]
    path = [part for part in groups if part not in tags]
    if first["type"] != "value_error" or last not in tags:  # what a whole component refuses stands at its tag
        path.append(last)
    key = ".".join(path)[:100]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key '{key}'{did_you_mean(path[-1], _known_keys())}"
    message = first["msg"].removeprefix("Value error, ")[:200]  # some repeat what they were given
    message = message[0].lower() + message[1:]
    return f"{key}: {message}, got {_shown(first['input'])}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else text[:100] + "..."


@lru_cache(maxsize=1)
def _adapter(known: int) -> TypeAdapter[RunConfig]:
    """Return the reader of configs; it is made anew when a plugin has added a component to those ``known``."""
    return TypeAdapter(Annotated[RunConfig, Field(discriminator="stage")])


def _configs() -> list[type]:
    return [TokenizerConfig, PriorConfig, DataConfig, TrainingConfig, VQVAE.Config, *Config.kinds().values()]


def _known_keys() -> set[str]:
    return {field.name for config in _configs() for field in fields(config)}
