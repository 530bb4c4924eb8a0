"""Train the judge, the classifier in whose features images are compared."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vqvae.data import ImageSet, Objects, load
from vqvae.errors import ArgumentError, UserError
from vqvae.features.files import save_weights
from vqvae.model_io import choose_device
from vqvae.progress import Progress, silent
from vqvae.training.judge import JudgeRecipe, accuracy, stored, train_judge
from vqvae.version import VERSION


def make_judge(
    data: str | Objects,
    out: Path,
    *,
    device: str = "auto",
    recipe: JudgeRecipe | None = None,
    widths: tuple[int, int, int] = (64, 256, 256),
    log: Callable[[str], object] = lambda line: None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a judge on a data set's training images, measure it once on the test images, and write its file.

    Args:
        data: as ``vqvae.data.load`` takes it: images of 32x32 pixels with labels.
        out: the file of weights, which must not exist.
        device: where it is trained.
        recipe: how it is trained; by default as the shipped judge was.
        widths: channels of its blocks.
        log: takes one line per epoch.
        progress: called with the number of steps done and of all steps.

    Returns:
        The card of the weights.

    Raises:
        UserError: for data without labels or of another size.
    """
    recipe = recipe or JudgeRecipe()
    if recipe.epochs < 1:
        raise ArgumentError("epochs", f"{recipe.epochs}: must be 1 or more")
    train, validation = (_loaded(data, split) for split in ("train", "validation"))
    place = choose_device(device)
    recipe = recipe.resolved(place)
    judge = train_judge(train, validation, recipe, device=place, log=log, progress=progress, widths=widths)
    judge.load_state_dict({name: value.float() for name, value in stored(judge).items()}, strict=False)
    test = _loaded(data, "test")
    card = {
        "data": Path(train.spec).name,  # no folder of this machine
        "trained_on": train.fingerprint,
        "images": len(train),
        "classes": list(train.classes),
        "recipe": vars(recipe),
        "validation_accuracy": accuracy(judge, validation),
        "test_accuracy": accuracy(judge, test),
        "test_images": len(test),
        "license": "MIT",
        "versions": {"vqvae": VERSION, "torch": torch.__version__, "python": platform.python_version()},
    }
    save_weights(out, {"network": "judge", "settings": judge.settings, **card}, stored(judge))
    return card


def _loaded(data: str | Objects, split: str) -> ImageSet:
    images = load(data, split, channels=3, size=(32, 32), validation="auto")
    if images.labels is None:
        raise UserError(f"{images.spec}: the {split} images have no labels; a judge is a classifier")
    return images
