"""Read recipes and YAML files as configs, override keys, and write configs. An error is one line with the key."""

import os
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from vqvae.component import Config
from vqvae.config.keys import STAGES
from vqvae.config.mistakes import first_mistake
from vqvae.config.runs import RunConfig
from vqvae.config.set_key import set_key
from vqvae.config.short_form import long_form
from vqvae.config.yaml_values import plain_value, read_yaml
from vqvae.errors import UserError, did_you_mean
from vqvae.run_directory import RunDirectory

_SUFFIXES = (".yaml", ".yml")
_PATHS = ("data.spec", "tokenizer", "init")  # paths are not read as YAML, in which ~ is null


def recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    folder = Path(str(resources.files("vqvae") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


Recipe = str | PathLike[str] | Mapping[str, Any] | RunConfig


def load_config(
    recipe: Recipe,
    stage: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a recipe and apply overrides.

    Args:
        recipe: the name of a shipped recipe, the path of a YAML file, a mapping of its keys, or a config.
        stage: ``tokenizer`` or ``prior``.
        overrides: values by dotted key. A text is in YAML's notation, except for a path. A mapping changes the
            keys of its group.
        base: values of the group ``data`` where the recipe has none.

    Raises:
        UserError: for a missing file, a file that is not a YAML mapping, a recipe of the other stage, an unknown
            key or a value out of its range. The message names the key.
    """
    values, where = _read(recipe)
    values = _copy(long_form({"stage": stage, **values}, where))
    if base is not None:
        own = values.get("data") or {}
        values["data"] = {**base, **own} if isinstance(own, dict) else own
    # kinds first: a new kind drops settings of the recipe, and the other overrides are meant for the new kind
    for key, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith(".kind")):
        text = isinstance(value, str) and key not in _PATHS
        set_key(values, key, plain_value(value, f"--{key}") if text else value, stage=stage)
    if values["stage"] != stage and values["stage"] in STAGES:
        command = "train" if values["stage"] == "tokenizer" else "prior"
        raise UserError(f"{where}: a recipe for stage '{values['stage']}': use vqvae {command}")
    return config_from(values, where)


def recipe_name(recipe: Recipe) -> str:
    """Return the name for runs of a recipe: the name of the recipe, or its stage if it has no name."""
    if isinstance(recipe, str | PathLike):
        return Path(recipe).stem
    stage: Any = recipe.get("stage") if isinstance(recipe, Mapping) else recipe.stage
    return str(stage or "run")


def _read(recipe: Recipe) -> tuple[Mapping[str, Any], str]:
    """Return a recipe's mapping, and the beginning of its error messages."""
    if isinstance(recipe, str | PathLike):
        return read_yaml(recipe_file(name := fspath(recipe))), name
    return (recipe if isinstance(recipe, Mapping) else _plain(recipe, "config")), "config"


def recipe_file(name: str) -> Path:
    """Return the file of a recipe, which is given by the name of a shipped recipe or by a path.

    Raises:
        UserError: when there is no such recipe or file.
    """
    path = Path(os.path.expanduser(name))
    if name in recipes():
        return recipes()[name]
    if path.is_file():
        return path
    if path.is_dir():
        run = RunDirectory(path)
        advice = f"pass the run's recipe, {run.config}" if run.exists else "pass a YAML file"
        raise UserError(f"recipe {name}: a folder: {advice}, or the name of a shipped recipe")
    if path.suffix.lower() in _SUFFIXES or "/" in name:
        raise UserError(f"recipe {name}: no such file; the shipped recipes: {', '.join(recipes())}")
    raise UserError(f"no recipe '{name}'{did_you_mean(name, recipes())}; or give the path of a YAML file")


def config_from(values: Mapping[str, Any], where: str) -> RunConfig:
    """Check a mapping and return it as a config; error messages begin with ``where``.

    Raises:
        UserError: for an unknown key or a value out of its range. The message names the key.
    """
    values = long_form(values, where)
    try:
        return _adapter(tuple(Config.kinds().values())).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: {first_mistake(error.errors()[0], values)}") from None


def checked(config: RunConfig, where: str) -> RunConfig:
    """Check a config that was made in Python; the dataclasses themselves accept any value.

    Raises:
        UserError: for a value out of its range. The message names the key.
    """
    return config_from(_plain(config, where), where)


def _plain(config: RunConfig, where: str) -> dict[str, Any]:
    try:
        return to_mapping(config)
    except PydanticSerializationError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:200]}") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain values, of types that YAML and JSON have."""
    return TypeAdapter(type(config)).dump_python(config, mode="json", warnings=False)


def to_yaml(config: RunConfig) -> str:
    """Return a config as YAML that ``load_config`` reads back."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


@lru_cache(maxsize=1)
def _adapter(known: tuple[type, ...]) -> TypeAdapter[RunConfig]:
    """Return the reader of configs; it is made again after a component has been defined."""
    return TypeAdapter(Annotated[RunConfig, Field(discriminator="stage")])


def _copy(values: Any) -> Any:
    """Return values whose groups and lists may be changed without changing those of the original."""
    if isinstance(values, Mapping):
        return {key: _copy(value) for key, value in cast(Mapping[str, Any], values).items()}
    return [_copy(value) for value in cast(list[Any], values)] if isinstance(values, list | tuple) else values
