"""The images of a run: the training and the validation split, which are checked and recorded in the run.

Training never opens the test split.
"""

import logging
from dataclasses import asdict
from typing import Any, NamedTuple

from vqvae.config import DataConfig
from vqvae.data import Images, ImageSet, Objects, are_identical, describe, named_classes
from vqvae.distributed import broadcast, in_turn, local_rank, rank
from vqvae.errors import UserError
from vqvae.files import read_json, write_json
from vqvae.run_directory import RunDirectory
from vqvae.screen import say
from vqvae.training.store_data import StoreData, StoredCodes

_LOG = logging.getLogger(__name__)


class RunData(NamedTuple):
    """The images of a run.

    Attributes:
        train: the images to train on.
        validation: the images to measure on while training; they select the best model.
    """

    train: Images
    validation: ImageSet


def load_run_data(config: DataConfig, given: Objects | None = None, *, multiple_of: int) -> RunData:
    """Load both splits and print one line about each.

    Args:
        config: the settings of the data.
        given: an object as ``vqvae.data.load`` takes it, in place of ``config.spec``.
        multiple_of: number that height and width must be multiples of.

    Raises:
        UserError: for images that cannot be read, or that differ in shape between the splits.
    """
    with in_turn(local_rank() == 0):  # the first rank of a host downloads, the others find the files
        train = config.training_images(multiple_of, data=given)
        validation = config.validation_images(multiple_of, train=train, data=given)
    if train.shape != validation.shape:
        raise UserError(
            f"{config.spec}: images [C, H, W] are {list(train.shape)} in train, but "
            f"{list(validation.shape)} in validation; set --data.channels, --data.size and --data.fit crop"
        )
    if rank() == 0:
        say(f"{describe(train)}\n{describe(validation)}")
    for bad in [*train.bad, *validation.bad]:
        _LOG.warning("skipped %s: %s", bad.path, bad.reason)
    return RunData(train, validation)


def record_run_data(run: RunDirectory, data: RunData | StoreData) -> None:
    """Write the run's ``data.json``. If it exists already, first check that the images are the same.

    Raises:
        UserError: when the images differ between hosts, or from the images that the run began with.
    """
    for name, images in _splits(data).items():
        if broadcast(images.fingerprint) != images.fingerprint:
            raise UserError(
                f"{images.spec}: the {name} images are not the same on all hosts: give every host the same files, "
                "or one shared folder"
            )
        if run.data.exists() and _recorded(run, name) != images.fingerprint:
            raise UserError(
                f"{run.path}: the {name} images at {images.spec} are not the images that the run began with; "
                "pass --data WHERE if they were moved, or start a new run"
            )
    now = list(data.train.classes)
    if run.data.exists() and (before := read_json(run.data).get("classes")) != now:
        raise UserError(
            f"{run.path}: the classes at {data.train.spec} are {named_classes(now)}, but the run began with "
            f"{named_classes(before or ())}: rename them back, or start a new run"
        )
    if rank() == 0:
        write_json(run.data, _record(data))


def _splits(data: RunData | StoreData) -> dict[str, Images | StoredCodes]:
    return {"train": data.train, "validation": data.validation}


def _recorded(run: RunDirectory, split: str) -> str:
    """Return the fingerprint of the split with which the run began."""
    record = read_json(run.data).get(split)
    if not isinstance(record, dict) or "fingerprint" not in record:
        raise UserError(f"{run.data}: damaged: it does not say which {split} images the run began with")
    return str(record["fingerprint"])  # pyright: ignore[reportUnknownArgumentType]


def _record(data: RunData | StoreData) -> dict[str, Any]:
    splits = {
        name: {
            "images": len(images),
            "shape": list(images.shape),
            "fingerprint": images.fingerprint,
            "origin": images.origin,
            "left_out": list(images.left_out),
        }
        for name, images in _splits(data).items()
    }
    common = {"spec": data.train.spec, **splits, "classes": list(data.train.classes)}
    if isinstance(data, StoreData):
        return common
    return {
        **common,
        "pixel_variance": data.train.pixel_variance,
        "identical": are_identical(data.train),
        "bad": [asdict(bad) for bad in [*data.train.bad, *data.validation.bad]],
    }
