"""From what a user names to a feature network, and from the configs of losses to the networks in them."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from vqvae.errors import UserError, did_you_mean
from vqvae.features.base import FeatureNetwork, FeaturesConfig
from vqvae.features.files import load_weights


def network_named(name: str) -> FeatureNetwork:
    """Make the network that a user names.

    Args:
        name: ``KIND``, with the weights that the package ships; ``KIND:PATH``, with weights by path; or the path
            of a file that ``vqvae judge`` wrote.

    Raises:
        UserError: for an unknown kind, and weights that are missing or of another network.
    """
    kinds = FeaturesConfig.kinds()
    kind, _, path = name.partition(":")
    if kind not in kinds and (file := Path(name).expanduser()).is_file():
        kind, path = str(load_weights(file)[0].get("network")), name
    if kind not in kinds:
        raise UserError(f"no feature network '{name}'{did_you_mean(kind, kinds)}; as KIND, KIND:PATH or PATH")
    return kinds[kind](kind=kind, weights=str(Path(path).expanduser()) if path else None).build()


def networks_in(configs: Iterable[Any]) -> tuple[str, ...]:
    """Return the digests of the feature networks that some configs hold, such as those of a run's losses."""
    found = {network.build().digest for config in configs for network in _networks(config)}
    return tuple(sorted(found))


def _networks(config: Any) -> Iterator[FeaturesConfig]:
    if isinstance(config, FeaturesConfig):
        yield config
    elif is_dataclass(config):
        for field in fields(config):
            yield from _networks(getattr(config, field.name))
    elif isinstance(config, list | tuple):
        for item in cast(Iterable[Any], config):
            yield from _networks(item)
