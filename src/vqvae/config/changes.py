"""Keys of a run that may change when the run is resumed."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple, cast

from vqvae.config.keys import STAGES, closest_key, entry_names, is_key, key_names
from vqvae.config.load import load_config, to_mapping
from vqvae.config.runs import DataConfig, RunConfig, TrainingConfig
from vqvae.errors import UserError
from vqvae.sampling import Controls

# These keys would change the order of rows, the random numbers or the optimizer's state, and so make another run.
_FIXED = ("batch_size", "accumulate", "seed", "optimizer")
_OTHERS = ("data.spec", "data.strict", "beta", "revive_until", "class_dropout")


class Change(NamedTuple):
    """A changed key.

    Attributes:
        key: the key, dotted.
        before: the old value.
        after: the new value.
    """

    key: str
    before: Any
    after: Any


def changeable_keys(stage: str) -> list[str]:
    """Return the keys of a stage's run that may change when the run is resumed."""
    training = [f"training.{field.name}" for field in fields(TrainingConfig) if field.name not in _FIXED]
    files = [key for key in key_names(stage) if _names_a_file_of_a_loss(key)]
    sampling = [f"sampling.{field.name}" for field in fields(Controls)]
    return [key for key in (*training, *_OTHERS, *files, *sampling) if is_key(stage, key)]


def changed(config: RunConfig, changes: Mapping[str, Any], where: str) -> tuple[RunConfig, list[Change]]:
    """Return a run's config with some keys changed, and the changes of values.

    Args:
        config: the run's config so far.
        changes: values by dotted key, as the overrides of ``load_config``.
        where: the beginning of error messages.

    Raises:
        UserError: for an unknown key, a key whose change would make another run, or a value out of its range.
    """
    known = changeable_keys(config.stage)
    for key in changes:
        if key not in known and not (_names_a_file_of_a_loss(key) and is_key(config.stage, key)):
            raise UserError(f"{where}: {_why_not(key, config.stage, known)}")
    new = load_config(config, config.stage, changes)
    values = {key: (_at(config, key), _at(new, key)) for key in changes}
    return new, [Change(key, before, after) for key, (before, after) in values.items() if before != after]


def read_otherwise(data: DataConfig, reading: Mapping[str, Any]) -> DataConfig:
    """Return settings for reading images, with some keys such as ``data.size`` changed.

    Raises:
        UserError: for an unknown key, or a value out of its range.
    """
    return load_config({"data": to_mapping(data)}, "tokenizer", reading).data


def _why_not(key: str, stage: str, known: list[str]) -> str:
    if stage in STAGES and is_key(stage, key):
        return f"{key} cannot change in a run that has begun: start a new run with it"
    found = closest_key(key, known)
    return f"unknown key '{key}'" + (f"; did you mean '{found}'?" if found else "")


def _names_a_file_of_a_loss(key: str) -> bool:
    """Say whether a key is the path of a file: it may have moved, and the loss checks that it is the same file."""
    return key.startswith("losses.") and key.endswith("weights")


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(config, tuple):
            entries = cast(tuple[Any, ...], config)
            config = dict(zip(entry_names(entry.kind for entry in entries), entries, strict=True)).get(part)
        else:
            config = getattr(config, part, None)
    return config
