"""Resolve what a user names (runs, classes, images) to models and tensors. A command opens each model once."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.commands.controls import own_controls
from vqvae.config import DataConfig, read_otherwise
from vqvae.data import ImageSet, Objects, describe, is_data_file, load_files, named_classes
from vqvae.errors import ArgumentError, UserError, did_you_mean
from vqvae.model_io import Opened, choose_device, open_prior, open_tokenizer, read_model
from vqvae.model_place import model_place
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.published import data_settings
from vqvae.run_directory import RunDirectory
from vqvae.sampling import PLAIN, Controls, labels_in_turn
from vqvae.screen import say

MOST_SHOWN = 32  # most images of a data set that a picture shows


@dataclass(frozen=True)
class TokenizerRun:
    """An opened tokenizer, and how the images of its run were read.

    Attributes:
        path: the run directory or model file that was opened.
        tokenizer: the tokenizer, in eval mode, on the device.
        data: the run's settings of its data; None for a model file by itself.
        reading: the settings by which images are read for the tokenizer.
        device: the device of the models.
    """

    path: Path
    tokenizer: Opened[VQVAE]
    data: DataConfig | None
    reading: DataConfig
    device: torch.device

    def reading_of(self, spec: str) -> DataConfig:
        """Return how the data of a spec are read; the run's own have the columns that the run names."""
        how = replace(self.reading, spec=spec)
        if self.data is None or self.data.spec != spec:
            return how
        return replace(how, label=how.label or self.data.label, image=how.image or self.data.image)


@dataclass(frozen=True)
class PriorRun(TokenizerRun):
    """An opened prior, and the tokenizer whose codes it models.

    Attributes:
        prior: the prior, in eval mode, on the device.
        controls: how samples are drawn where a command does not say it.
    """

    prior: Opened[Prior]
    controls: Controls = PLAIN


def open_tokenizer_run(
    path: str | Path, *, device: str = "auto", reading: Mapping[str, Any] | None = None
) -> TokenizerRun:
    """Open a tokenizer's run, the tokenizer in a prior's run, or a tokenizer's file.

    Args:
        path: the run directory, the file, or the name of a model, as ``model_place`` takes it.
        device: the device of the model.
        reading: settings for reading images that differ from the run's own, by keys such as ``data.size``.

    Raises:
        UserError: when there is no tokenizer at the path, or no such device.
    """
    path, on = model_place(path), choose_device(device)
    return _tokenizer_run(path, open_tokenizer(path, device=on), reading, on)


def open_prior_run(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    device: str = "auto",
    reading: Mapping[str, Any] | None = None,
) -> PriorRun:
    """Open a prior's run.

    Args:
        path: the run directory, or the name of a model, as ``model_place`` takes it.
        tokenizer: decodes the prior's codes instead of the tokenizer in the prior's run: a run or a model file
            with the same encoder and quantizer.
        device: as ``open_tokenizer_run`` takes it.
        reading: as ``open_tokenizer_run`` takes it.

    Raises:
        UserError: when there is no prior's run at the path, no such device, or the tokenizer's codes are others.
    """
    path, on = model_place(path), choose_device(device)
    return _prior_run(path, open_prior(path, device=on), reading, on, tokenizer)


def open_run(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    device: str = "auto",
    reading: Mapping[str, Any] | None = None,
) -> TokenizerRun:
    """Open a run of either stage; a prior's run gives a ``PriorRun``.

    The arguments are those of ``open_prior_run``; a tokenizer's run needs no ``tokenizer``.

    Raises:
        UserError: when there is no run or model at the path, or no such device.
    """
    path = model_place(path)
    file, on = read_model(path), choose_device(device)
    if file.card.stage == "prior":
        return _prior_run(path, open_prior(file, device=on), reading, on, tokenizer)
    return _tokenizer_run(path, open_tokenizer(file, device=on), reading, on)


def _tokenizer_run(
    path: str | Path, tokenizer: Opened[VQVAE], reading: Mapping[str, Any] | None, on: torch.device
) -> TokenizerRun:
    own = data_settings(Path(path))
    as_own = own or DataConfig()
    channels: Any = tokenizer.model.channels
    how = DataConfig(
        size=as_own.size,
        fit=as_own.fit,
        channels=channels,
        range=as_own.range,
        validation=as_own.validation,
    )
    return TokenizerRun(Path(path), tokenizer, own, read_otherwise(how, reading or {}), on)


def _prior_run(
    path: str | Path,
    prior: Opened[Prior],
    reading: Mapping[str, Any] | None,
    on: torch.device,
    tokenizer: str | Path | None = None,
) -> PriorRun:
    if tokenizer is None and not RunDirectory(Path(path)).tokenizer.is_file():
        raise UserError(f"{path}: a prior without its tokenizer: pass --tokenizer RUN, which images need")
    opened = open_tokenizer(path if tokenizer is None else tokenizer, device=on)
    if opened.card.identity != prior.card.tokenizer:
        raise UserError(
            f"{opened.path}: not the tokenizer whose codes {path} models: its encoder or quantizer is another"
        )
    tokenizer_run = _tokenizer_run(path, opened, reading, on)
    return PriorRun(**vars(tokenizer_run), prior=prior, controls=own_controls(Path(path), prior))


def class_named(label: str, prior: Opened[Prior]) -> int:
    """Return the class of a name or a number.

    Raises:
        ArgumentError: for an unknown class, or any where the prior knows none.
    """
    num_classes, classes = prior.model.num_classes, prior.card.classes
    if num_classes == 0:
        raise ArgumentError("label", f"{label}: this prior was trained without classes")
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < num_classes:
        return int(label)
    raise ArgumentError("label", f"{label}: no such class{did_you_mean(label, classes)}")


def labels_by_name(images: ImageSet, prior: Opened[Prior]) -> Tensor | None:
    """Return the prior's numbers of images' classes, int64 [N]; None where either has no classes.

    Raises:
        UserError: when images have a class that the prior was not trained on.
    """
    if images.labels is None or not prior.card.classes:
        return None
    labels = torch.tensor(numbers_by_name(images.classes, prior))[images.labels]
    if bool((labels < 0).any()):
        other = images.classes[int(images.labels[labels < 0][0])]
        raise UserError(
            f"{images.spec}: the prior was not trained on the class '{other}', but on "
            f"{named_classes(prior.card.classes)}; classes are matched by name: rename the classes of the data"
        )
    return labels


def numbers_by_name(classes: Sequence[str], prior: Opened[Prior]) -> list[int]:
    """Return the prior's number of each class, matched by name; -1 for a class that it was not trained on."""
    number = {name: row for row, name in enumerate(map(_one_form, prior.card.classes))}
    return [number.get(_one_form(name), -1) for name in classes]


def _one_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def same_label(label: str | None, num: int, prior: Opened[Prior]) -> Tensor | None:
    """Return one class for ``num`` images, int64 [num]; None without a label.

    Raises:
        ArgumentError: as ``class_named``.
    """
    return None if label is None else torch.full((num,), class_named(label, prior))


def sample_labels(label: str | None, rows: range, prior: Opened[Prior]) -> Tensor | None:
    """Return the classes of some rows of a set of samples, int64 [len(rows)].

    All rows have the class that is named. Without a name, classes take turns by ``labels_in_turn``.

    Raises:
        ArgumentError: as ``class_named``.
    """
    if label is None:
        return labels_in_turn(rows, prior.model.num_classes)
    return same_label(label, len(rows), prior)


def check_at_least_1(**values: int) -> None:
    """Raise ArgumentError for a value below 1."""
    for name, value in values.items():
        if value < 1:
            raise ArgumentError(name, f"{value}: must be 1 or more")


def load_for(run: TokenizerRun, data: str | Objects, split: str) -> tuple[ImageSet, str]:
    """Load a split of a data set for a run's tokenizer, and print one line about it.

    Args:
        run: whose images say how these are read.
        data: the data set's spec, or an object as ``vqvae.data.load`` takes it.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The images, and how they were made to fit: ``strict`` or ``crop``.
    """
    multiple = run.tokenizer.model.factor
    if isinstance(data, str):
        images = run.reading_of(data).load(split, multiple_of=multiple)
    else:
        images = run.reading.load(split, multiple_of=multiple, data=data)
    say(describe(images))
    return images, run.reading.fit


def images_named(run: TokenizerRun, names: Sequence[str]) -> Tensor:
    """Read image files, or the first 32 test images of one data set, as a run's own images, uint8 [N, C, H, W].

    Raises:
        UserError: for names of neither, and images that do not fit.
    """
    if are_image_files(names):
        return image_files(run, names)
    return load_for(run, names[0], "test")[0].pixels[:MOST_SHOWN]


def are_image_files(names: Sequence[str]) -> bool:
    """Tell image files from the name of one data set.

    Raises:
        UserError: for several names, if one of the names is not an image file.
    """
    other = next((name for name in names if not Path(name).is_file() or is_data_file(Path(name))), None)
    if other is not None and len(names) > 1:
        problem = "not an image file" if Path(other).exists() else "no such image file"
        raise UserError(f"{other}: {problem}: give image files, or one data set alone")
    return other is None


def without_ending(name: str) -> str:
    """Return a file's name without its ending: a dot, a letter, and up to four letters or digits."""
    return re.sub(r"(?<=[^/])\.[A-Za-z][A-Za-z0-9]{1,4}\Z", "", name)


def image_files(run: TokenizerRun, names: Sequence[str]) -> Tensor:
    """Read image files as a run's own images, uint8 [N, C, H, W].

    Raises:
        UserError: for a file that is no image, or that does not fit.
    """
    return load_files([Path(name) for name in names], **run.reading.options(run.tokenizer.model.factor)).pixels
