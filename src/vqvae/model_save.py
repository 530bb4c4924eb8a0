"""Saving a model that was trained in a loop of one's own, as the file of a run."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqvae.errors import UserError
from vqvae.files import write_atomically
from vqvae.model_card import ModelCard, prior_card, tokenizer_card
from vqvae.model_io import (
    ModelFile,
    build_prior,
    build_tokenizer,
    open_prior,
    open_tokenizer,
    read_model,
    read_tokenizer,
    save_model,
)
from vqvae.models import VQVAE
from vqvae.models.eval_mode import eval_mode
from vqvae.priors import Prior, PriorModelConfig
from vqvae.run_directory import RunDirectory
from vqvae.sampling import labels_in_turn, sample
from vqvae.screen import say
from vqvae.tensors import checked_images, images_from_pixels, pixels_from_images

_BATCH = 256
_SAMPLES = 64  # on which a prior in half precision is tried


def save(
    model: nn.Module,
    path: str | Path,
    *,
    config: VQVAE.Config | PriorModelConfig,
    images: Tensor | None = None,
    tokenizer: str | Path | None = None,
    classes: Sequence[str] = (),
    step: int = 0,
) -> Path:
    """Write a tokenizer or a prior to a file that ``load_tokenizer`` or ``load_prior`` takes.

    Args:
        model: a ``VQVAE`` or a prior. The weights are saved as they are; the model is not changed.
        path: a file whose name ends in ``.safetensors``, or a directory, which the commands take as a run. An
            older file of the same name is replaced.
        config: the settings that ``config.build`` made the model with.
        images: required for a tokenizer: training images, uint8 or float in [-1, 1], [N, C, H, W]. A few thousand
            are enough. The saved ``pixel_variance`` is theirs if the model's is still 1, and the saved buffers of
            the likelihood, such as the variance of its noise, are estimated on them.
        tokenizer: required for a prior: the run or file of the tokenizer whose codes the prior models. A directory
            gets a copy of it.
        classes: names of the classes; required for a prior with classes, a name for each of its numbers.
        step: number of optimizer steps the model was trained for.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the config does not fit the model, the images or the tokenizer are missing or do not fit, or
            the model is neither a ``VQVAE`` nor a prior.
        UserError: if there is no tokenizer at its path, a weight is not finite, or the file cannot be written.
    """
    model = cast(nn.Module, getattr(model, "_orig_mod", model))  # what torch.compile has wrapped
    if isinstance(model, VQVAE) and isinstance(config, VQVAE.Config):
        if images is None:
            raise ValueError("a tokenizer is saved with images=: a few thousand of its training images")
        card = _tokenizer_card(model, config, images, tuple(classes), step)
        return _write(Path(path), {**model.state_dict(), **_estimated(model, images)}, card, None)
    if isinstance(model, Prior) and isinstance(config, PriorModelConfig):
        if tokenizer is None:
            raise ValueError("a prior is saved with tokenizer=: the run or the file whose codes it models")
        file = read_tokenizer(tokenizer)
        card = _prior_card(model, config, file, tuple(classes), step)
        return _write(Path(path), model.state_dict(), card, file)
    raise ValueError(
        f"a {type(model).__qualname__} with a {type(config).__qualname__}: "
        "expected a VQVAE with its VQVAE.Config, or a prior with its Config"
    )


def save_half(file: ModelFile, path: Path) -> None:
    """Write a smaller copy of a model file: weights that leave all codes as they are become float16.

    The decoder of a tokenizer becomes float16; encoder and quantizer stay float32, bit for bit, so codes and
    identity do not change. A prior becomes float16 if it then draws the same codes for 64 samples; otherwise its
    weights stay float32, and one line says so.

    Args:
        file: the model file.
        path: the file to write.

    Raises:
        UserError: when a weight is too large for float16.
    """
    halves = {name: t.half() for name, t in file.state.items() if _becomes_half(name, t, file.card.stage)}
    save_model(path, {**file.state, **halves}, file.card)
    if file.card.stage == "prior" and (others := _other_codes(file, read_model(path))):
        say(f"{file.path}: kept in float32: in float16 it draws {others:,} other codes in {_SAMPLES} samples")
        write_atomically(path, file.content)


def _becomes_half(name: str, tensor: Tensor, stage: str) -> bool:
    return tensor.is_floating_point() and (stage == "prior" or name.startswith("decoder."))


def _other_codes(file: ModelFile, other: ModelFile) -> int:
    """Return how many codes of some samples differ between two priors."""
    drawn = [_samples(open_prior(each).model) for each in (file, other)]
    return int((drawn[0] != drawn[1]).sum())


def _samples(prior: Prior) -> Tensor:
    return sample(prior, _SAMPLES, labels=labels_in_turn(range(_SAMPLES), prior.num_classes))


def _tokenizer_card(
    model: VQVAE, config: VQVAE.Config, images: Tensor, classes: tuple[str, ...], step: int
) -> ModelCard:
    _check_fit(model, partial(build_tokenizer, config, channels=model.channels))
    if not len(checked_images(images, channels=model.channels, factor=model.factor)):
        raise ValueError("images: expected at least one")
    _, channels, height, width = images.shape
    return tokenizer_card(config, classes=classes, image_shape=(channels, height, width), step=step)


def _prior_card(
    prior: Prior, config: PriorModelConfig, file: ModelFile, classes: tuple[str, ...], step: int
) -> ModelCard:
    _check_fit(prior, partial(build_prior, config, prior.spec, num_classes=prior.num_classes))
    tokenizer = open_tokenizer(file).model
    height, width = (size * tokenizer.factor for size in prior.spec.grid)
    if (spec := tokenizer.code_spec(height, width)) != prior.spec:
        raise ValueError(f"{file.path}: its codes are {spec}, but the prior models {prior.spec}")
    if len(classes) != prior.num_classes:
        raise ValueError(f"{len(classes)} names of classes, but the prior has {prior.num_classes}: pass classes=")
    shape = (tokenizer.channels, height, width)
    return prior_card(config, prior, classes=classes, image_shape=shape, tokenizer=file.card.identity, step=step)


def _check_fit(model: nn.Module, build: "partial[Any]") -> None:
    """Refuse a config that builds another model than this one."""
    with torch.device("meta"):
        built = build()
    shapes, expected = ({name: t.shape for name, t in each.state_dict().items()} for each in (model, built))
    for name in [*expected, *shapes]:
        if expected.get(name) != shapes.get(name):
            raise ValueError(f"config: it builds another model than the one given; '{name}' differs")


@torch.no_grad()
def _estimated(model: VQVAE, images: Tensor) -> dict[str, Tensor]:
    """Return the buffers that are estimated on training images, by name."""
    pixels = images if images.dtype == torch.uint8 else pixels_from_images(images)
    variance = model.pixel_variance.cpu()
    if float(variance) == 1:
        variance = images_from_pixels(pixels).double().var(correction=0).clamp(min=1e-12).float()
    with eval_mode(model):
        estimated = model.likelihood.estimate(_decoded(model, pixels))
    return {"pixel_variance": variance} | {f"likelihood.{name}": value for name, value in estimated.items()}


def _decoded(model: VQVAE, pixels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for part in pixels.split(_BATCH):
        codes = model.encode(part.to(model.pixel_variance.device))
        yield model.decode_parameters(codes), part


def _write(path: Path, state: dict[str, Tensor], card: ModelCard, tokenizer: ModelFile | None) -> Path:
    is_file = path.suffix == ".safetensors"
    target = path if is_file else RunDirectory(path).model
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if tokenizer is not None and not is_file:
            kept = RunDirectory(path).tokenizer
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, tokenizer.content)
        save_model(target, state, card)
    except OSError as error:
        raise UserError(f"{path}: cannot write the model: {error.strerror}") from None
    return target
