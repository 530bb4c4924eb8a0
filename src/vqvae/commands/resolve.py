"""From what the command line names, runs, classes and images, to models and tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vqvae.config import DataConfig, config_from, read_yaml
from vqvae.data import ImageSet, load_files
from vqvae.errors import UserError, did_you_mean
from vqvae.model_card import ModelCard
from vqvae.model_io import choose_device, load_tokenizer, open_prior
from vqvae.models import VQVAE
from vqvae.priors import CodePrior
from vqvae.run_directory import RunDirectory
from vqvae.sampling import Controls, check_candidates


class PriorRun(NamedTuple):
    """A prior's run, ready to measure with and to draw from.

    Attributes:
        prior: in eval mode, on the device.
        tokenizer: whose codes it knows, the same.
        card: of the prior's file.
        device: of both.
    """

    prior: CodePrior
    tokenizer: VQVAE
    card: ModelCard
    device: torch.device

    def label_rows(self, num: int, label: str | None) -> torch.Tensor | None:
        """Return a class of the prior's for each of ``num`` images, as the function of that name."""
        return label_rows(num, label, self.card.classes, self.prior.num_classes)


def open_prior_run(path: str, device: str) -> PriorRun:
    """Load a prior's run onto the device of a name.

    Raises:
        UserError: for a path that is no prior's run, or no such device.
    """
    on = choose_device(device)
    prior = open_prior(path, device=on)
    return PriorRun(prior.model, load_tokenizer(path, device=on), prior.card, on)


def label_rows(num: int, label: str | None, classes: Sequence[str], num_classes: int) -> torch.Tensor | None:
    """Return a class, by name or number, for each of ``num`` images, int64 [num]; None for no label.

    Raises:
        UserError: for an unknown class, or any where the prior knows none.
    """
    if label is None:
        return None
    if num_classes == 0:
        raise UserError(f"--label {label}: this prior was trained without classes")
    if label in classes:
        return torch.full((num,), classes.index(label))
    if label.isdigit() and int(label) < num_classes:
        return torch.full((num,), int(label))
    raise UserError(f"--label {label}: no such class{did_you_mean(label, classes)}")


def check_flags(controls: Controls, labels: torch.Tensor | None, candidates: int = 1) -> None:
    """Raise UserError, naming the flag, for a control of sampling out of its range."""
    try:
        controls.check(classes=labels is not None)
        check_candidates(candidates, classes=labels is not None)
    except ValueError as error:
        raise UserError(f"--{error}") from None


def data_config(path: str) -> DataConfig:
    """Return how a run's own images were read; the defaults for a model file by itself."""
    run = RunDirectory(Path(path))
    if not run.exists:
        return DataConfig()
    return config_from(read_yaml(run.config), str(run.config)).data


def own_spec(path: str) -> str:
    """Return the spec of the data that a run was trained on.

    Raises:
        UserError: for a model by itself, which does not know.
    """
    if not RunDirectory(Path(path)).exists:
        raise UserError(f"{path}: has no config.yaml that says what it was trained on; pass --data SPEC")
    return data_config(path).spec


def load_for(path: str, tokenizer: VQVAE, spec: str, split: str) -> tuple[ImageSet, str]:
    """Load images as a run's own were: for its tokenizer and, where its config says so, its size and crop."""
    data = data_config(path)
    images = DataConfig(
        spec=spec,
        size=data.size,
        fit=data.fit,
        channels=tokenizer.channels,  # pyright: ignore[reportArgumentType]
        validation=data.validation,
    ).load(split, multiple_of=tokenizer.factor)
    return images, data.fit


def images_named(path: str, tokenizer: VQVAE, names: Sequence[str]) -> torch.Tensor:
    """Read image files, or the first 32 test images of one data spec, as a run's own were, uint8 [N, C, H, W].

    Raises:
        UserError: for names of neither, and images that do not fit.
    """
    if all(Path(name).is_file() for name in names):
        data = data_config(path)
        return load_files(
            [Path(name) for name in names],
            size=data.size,
            fit=data.fit,
            channels=tokenizer.channels,
            multiple_of=tokenizer.factor,
        ).pixels
    if len(names) == 1:
        return load_for(path, tokenizer, names[0], "test")[0].pixels[:32]
    missing = next(name for name in names if not Path(name).is_file())
    raise UserError(f"{missing}: no such image file")
