"""What a published model says of itself in ``config.json``, and how a trained model's images are read."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, cast

from vqvae.config import DataConfig, PriorConfig, config_from, read_yaml, to_mapping
from vqvae.errors import UserError
from vqvae.evaluation import read_evaluation
from vqvae.files import read_json
from vqvae.model_card import ModelCard
from vqvae.model_place import shipped_models
from vqvae.paths import is_data_name
from vqvae.run_directory import RunDirectory
from vqvae.sampling import PLAIN, Controls

# how images are read; the other settings of the data belong to the training
_READING = ("size", "fit", "channels", "range", "validation", "label", "image")


class Figures(NamedTuple):
    """What ``vqvae evaluate`` measured.

    Attributes:
        values: the values, by metric.
        protocol: what was measured, and how.
    """

    values: Mapping[str, Any]
    protocol: Mapping[str, Any]


def data_settings(path: Path) -> DataConfig | None:
    """Return how the images of a model's training were read; None for a model file by itself.

    The ``spec`` of a published model is empty if its images have no public name.

    Args:
        path: a run directory, or the folder of a published model.

    Raises:
        UserError: when the file that says it is damaged.
    """
    run = RunDirectory(path)
    if run.exists:
        return config_from(read_yaml(run.config), str(run.config)).data
    if not run.published.is_file():
        return None
    data = read_json(run.published).get("data")
    if not isinstance(data, dict):
        raise UserError(f"{run.published}: damaged: it does not say how images are read")
    return config_from({"stage": "tokenizer", "data": data}, str(run.published)).data


def sampling_settings(path: Path) -> Controls:
    """Return how samples of a prior are drawn where a command does not say it; of a file by itself, the defaults.

    Args:
        path: as ``data_settings`` takes it, of a prior.

    Raises:
        UserError: when the file that says it is damaged.
    """
    run = RunDirectory(path)
    if run.exists:
        config = config_from(read_yaml(run.config), str(run.config))
    elif run.published.is_file():
        own = {"stage": "prior", "sampling": read_json(run.published).get("sampling", {})}
        config = config_from(own, str(run.published))
    else:
        return PLAIN
    return config.sampling if isinstance(config, PriorConfig) else PLAIN


def data_around(file: Path) -> DataConfig | None:
    """Return the settings of the folder that a model file is in; a prior's folder holds its tokenizer."""
    folder = file.parent
    kept = RunDirectory(folder.parent).tokenizer == file
    return data_settings(folder) or (data_settings(folder.parent) if kept else None)


def figures_of(path: Path) -> Figures | None:
    """Return what was measured of the model of a run, or what a published model says; None if there is nothing.

    Of a folder or file that was measured, the protocol has the name alone.
    """
    run = RunDirectory(path)
    found = read_evaluation(run).get("results")
    if not found and run.published.is_file():
        found = read_json(run.published).get("figures")
    if not isinstance(found, dict):
        return None
    values = cast(dict[str, Any], found)
    protocol = values.get("protocol")
    return Figures(
        {key: value for key, value in values.items() if key != "protocol"},
        _public(cast(dict[str, Any], protocol) if isinstance(protocol, dict) else {}),
    )


def description(
    card: ModelCard, parameters: int, data: DataConfig | None, sampling: Controls, figures: Figures | None
) -> dict[str, Any]:
    """Return the content of ``config.json``; no path of the machine is in it.

    Args:
        card: of the model.
        parameters: number of parameters and buffers.
        data: of the model's training.
        sampling: how its samples are drawn; for a prior.
        figures: what was measured.
    """
    found: dict[str, Any] = {
        "library_name": "vqvae",
        "model_type": card.stage,
        **card.build,
        "image_shape": list(card.image_shape),
        "classes": list(card.classes),
        "step": card.step,
        "parameters": parameters,
        "data": _reading(data or DataConfig(channels=cast(Any, card.image_shape[0]))),
    }
    if card.stage == "prior":
        found["sampling"] = to_mapping(sampling)
    if figures is not None:
        found["figures"] = {**measured(figures), "protocol": dict(figures.protocol)}
    return found


def measured(figures: Figures) -> dict[str, float]:
    """Return the values that are there and finite, by metric; JSON has no infinity."""
    return {
        name: value for name, value in figures.values.items() if isinstance(value, int | float) and isfinite(value)
    }


def _public(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return a protocol with the last part of a path that the images were read from."""
    data = str(protocol.get("data", ""))
    return dict(protocol) if not data or is_data_name(data) else {**protocol, "data": Path(data).name}


def _reading(data: DataConfig) -> dict[str, Any]:
    plain = to_mapping(data)
    return {"spec": data.spec if is_data_name(data.spec) else "", **{key: plain[key] for key in _READING}}


def shipped_table() -> str:
    """Return a line for each model in this package: name, size, what it is, and one figure."""
    return "\n".join(_line(name, folder) for name, folder in shipped_models().items()) or "no models"


def _line(name: str, folder: Path) -> str:
    run = RunDirectory(folder)
    size = sum(file.stat().st_size for file in (run.model, run.tokenizer) if file.is_file())
    found = read_json(run.published)
    stages = "tokenizer and prior" if found["model_type"] == "prior" else "tokenizer"
    images = "x".join(map(str, found["image_shape"]))
    figures = figures_of(folder)
    value = None if figures is None else figures.values.get("psnr")
    figure = "" if value is None else f", PSNR {value:.2f} dB"
    return f"{name:16}{size / 2**20:5.2f} MiB  {stages}, images of {images}{figure}"
