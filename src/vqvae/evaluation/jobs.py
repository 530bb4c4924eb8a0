"""Whole measurements and pictures: from what the command line names to what it shows."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from tqdm import tqdm

from vqvae.config import DataConfig, config_from, read_yaml
from vqvae.data import ImageSet
from vqvae.errors import UserError, did_you_mean
from vqvae.evaluation.evaluate import Results, evaluate
from vqvae.evaluation.floors import load_counts
from vqvae.evaluation.pictures import grid, pairs
from vqvae.files import write_json
from vqvae.hub import choose_device, load_prior, load_tokenizer, read_model
from vqvae.sampling import PLAIN, Controls, sample
from vqvae.tensors import images_from_pixels, pixels_from_images


def evaluate_run(
    path: str, spec: str, *, split: str = "test", device: str = "auto", progress: bool = False
) -> Results:
    """Measure a run's tokenizer, and its prior where it is a prior's run; keep the results in evaluation.json.

    Raises:
        UserError: for a path that is no run, or data that the tokenizer does not fit.
    """
    card, _ = read_model(path)
    on = choose_device(device)
    tokenizer = load_tokenizer(path, device=on)
    prior = load_prior(path, device=on) if card.stage == "prior" else None
    images, fit = load_for(path, spec, split)
    counts = load_counts(Path(path)) if prior is not None else None
    results, chosen = evaluate(
        tokenizer, images, prior=prior, counts=counts, device=on, progress=progress, fit=fit
    )
    if Path(path).is_dir():
        write_json(Path(path) / "evaluation.json", {"results": results.to_dict(), "counts": chosen.tolist()})
    return results


def load_for(path: str, spec: str, split: str) -> tuple[ImageSet, str]:
    """Load images as a run's own were loaded: its channels and, where its config says so, its size and crop."""
    tokenizer, (card, _) = load_tokenizer(path), read_model(path)
    data = data_config(path)
    images = DataConfig(
        spec=spec,
        size=data.size,
        fit=data.fit,
        channels=card.image_shape[0],  # pyright: ignore[reportArgumentType]
    ).load(split, multiple_of=tokenizer.factor)
    return images, data.fit


def data_config(path: str) -> DataConfig:
    """Return how a run's own images were read; the defaults for a model file by itself."""
    config = Path(path) / "config.yaml"
    if not config.is_file():
        return DataConfig()
    return config_from(read_yaml(config), str(config)).data


def sample_picture(
    path: str,
    *,
    num: int,
    label: str | None,
    seed: int = 0,
    controls: Controls = PLAIN,
    device: str = "auto",
) -> Image.Image:
    """Draw images from a prior's run and lay them out in a grid.

    Args:
        path: the prior's run directory.
        num: how many.
        label: a class's name or number; None takes all classes in turn.
        seed: of ``vqvae.sampling.sample``.
        controls: of the same.
        device: where to run.

    Raises:
        UserError: for a path that is no prior's run, an unknown class, or a control out of its range.
    """
    if num < 1:
        raise UserError(f"--num {num}: must be 1 or more")
    on = choose_device(device)
    prior, tokenizer, (card, _) = load_prior(path, device=on), load_tokenizer(path, device=on), read_model(path)
    labels = label_rows(num, label, card.classes, prior.num_classes)
    if labels is None and prior.num_classes:
        labels = torch.arange(num) // 8 % prior.num_classes
    check_flags(controls, labels)
    total = num * prior.grid[0] * prior.grid[1] * prior.codes_per_position
    with tqdm(total=total, desc="sample", unit="code", leave=False, disable=None) as bar:
        codes = sample(prior, num, seed=seed, controls=controls, labels=labels, device=on, progress=bar.update)
    pixels = [pixels_from_images(tokenizer.decode(part)).cpu() for part in codes.split(256)]
    return grid(torch.cat(pixels), columns=8 if num % 8 == 0 and num <= 64 else None)


def check_flags(controls: Controls, labels: torch.Tensor | None) -> None:
    """Raise UserError, naming the flag, for a control of sampling out of its range."""
    try:
        controls.check(classes=labels is not None)
    except ValueError as error:
        raise UserError(f"--{error}") from None


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


def reconstruction_picture(path: str, names: Sequence[str], *, device: str = "auto") -> Image.Image:
    """Lay images out above their reconstructions.

    Args:
        path: a run directory with a tokenizer.
        names: image files, or one data spec, of whose test split the first 32 images are shown.
        device: where to run.

    Raises:
        UserError: for a path that is no run, or images that do not fit.
    """
    on = choose_device(device)
    tokenizer, pixels = load_tokenizer(path, device=on), images_named(path, names)
    codes = tokenizer.encode(images_from_pixels(pixels.to(on)))
    return pairs(pixels, pixels_from_images(tokenizer.decode(codes)).cpu())


def images_named(path: str, names: Sequence[str]) -> torch.Tensor:
    """Read image files, or the first 32 test images of one data spec, as a run's own were, uint8 [N, C, H, W].

    Raises:
        UserError: for names of neither, and images that do not fit.
    """
    if all(Path(name).is_file() for name in names):
        return load_files(path, names)
    if len(names) == 1:
        return load_for(path, names[0], "test")[0].pixels[:32]
    missing = next(name for name in names if not Path(name).is_file())
    raise UserError(f"{missing}: no such image file")


def own_spec(path: str) -> str:
    """Return the spec of the data that a run was trained on.

    Raises:
        UserError: for a model by itself, which does not know.
    """
    if not (Path(path) / "config.yaml").is_file():
        raise UserError(f"{path}: has no config.yaml that says what it was trained on; pass --data SPEC")
    return data_config(path).spec


def load_files(path: str, names: Sequence[str]) -> torch.Tensor:
    """Read image files as a run's own images were, uint8 [N, C, H, W].

    Raises:
        UserError: for a file that is no image, or that does not fit.
    """
    # a folder of links, so that files are decoded and made to fit by the one reader that there is
    with TemporaryDirectory() as folder:
        train = Path(folder) / "train"
        train.mkdir()
        (Path(folder) / "test").mkdir()  # else some would be held out
        for number, name in enumerate(names):
            (train / f"{number:06d}-{Path(name).name}").symlink_to(Path(name).resolve())
        images, _ = load_for(path, folder, "train")
    if images.bad:
        raise UserError(f"{images.bad[0].path}: {images.bad[0].reason}")
    return images.pixels
