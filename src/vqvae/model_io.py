"""Paths to models: a run directory, or the one file that is a model."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from vqvae.component import CountOrZero
from vqvae.config import PriorConfig, TokenizerConfig, config_from, to_mapping
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.priors import CodePrior, PriorModelConfig
from vqvae.run_directory import RunDirectory
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tensors import CodeSpec

M = TypeVar("M", bound=nn.Module)


_SPEC, _COUNT = TypeAdapter(CodeSpec), TypeAdapter(CountOrZero)
KIND, VERSION = "vqvae-model", 2


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself.

    Attributes:
        stage: ``tokenizer`` or ``prior``.
        build: the arguments that make the network again.
        classes: the names of the labels, where there are any.
        image_shape: (C, H, W) of the training images.
        step: the optimizer step that the weights are of.
        tokenizer: for a prior, the hash of the tokenizer's file.
        validation: of a run's best model, what it measured: NMSE of a tokenizer, bits per code of a prior.
    """

    stage: str
    build: dict[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    tokenizer: str | None = None
    validation: float | None = None


_CARD = TypeAdapter(ModelCard)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is CUDA, else MPS, else the CPU.

    Raises:
        UserError: when there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {name}: no such device here; use auto or cpu") from None


def save_model(path: Path, state: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write weights and card as one safetensors file, atomically."""
    save_tensors(path, KIND, VERSION, {"card": vars(card)}, state)


def model_file(path: str | Path) -> Path:
    """Return the model file of a run directory, or the file itself.

    Raises:
        UserError: where there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path}: no such run directory or model file")
    model = RunDirectory(path).model
    if not model.is_file():
        raise UserError(f"{path}: no {model.name} in it; a run writes one at its first checkpoint")
    return model


def tokenizer_file(path: str | Path) -> Path:
    """Return the tokenizer's file of a tokenizer's or a prior's run, or the file itself.

    Raises:
        UserError: where there is none.
    """
    kept = RunDirectory(Path(path)).tokenizer.parent
    return model_file(kept if kept.is_dir() else path)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal: a model's name for what was made with it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_model(path: str | Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Read a model file's card and weights.

    Raises:
        UserError: when it is missing, damaged, or no model of this program.
    """
    file = model_file(path)
    header, state = load_tensors(file, KIND, VERSION)
    try:
        return _CARD.validate_python(header.get("card")), state
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{file}: damaged: its card does not say {key[:80] or 'anything'} as it should") from None


def best_so_far(path: Path) -> float:
    """Return what a run's best model measured; infinity where there is none yet, or it is damaged."""
    try:
        value = read_model(path)[0].validation
    except UserError:
        return math.inf
    return math.inf if value is None else value


def build_tokenizer(config: VQVAE.Config, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> VQVAE:
    """Make an untrained tokenizer; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build(channels=channels, forwards_per_update=forwards_per_update, seed=seed)


def build_prior(config: PriorModelConfig, spec: CodeSpec, *, num_classes: int = 0, seed: int = 0) -> CodePrior:
    """Make an untrained prior; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build(spec, num_classes=num_classes)


def tokenizer_card(
    config: TokenizerConfig, *, classes: tuple[str, ...], image_shape: tuple[int, int, int], step: int
) -> ModelCard:
    """Return the card of a tokenizer's file."""
    return ModelCard("tokenizer", {"model": to_mapping(config.model)}, classes, image_shape, step)


def prior_card(
    config: PriorConfig, prior: CodePrior, tokenizer: ModelCard, tokenizer_hash: str, step: int
) -> ModelCard:
    """Return the card of a prior's file."""
    build = {
        "model": to_mapping(config.model),
        "codes": to_mapping(prior.spec),
        "num_classes": prior.num_classes,
    }
    return ModelCard("prior", build, tokenizer.classes, tokenizer.image_shape, step, tokenizer_hash)


def load_tokenizer(path: str | Path, *, device: torch.device | str = "cpu") -> VQVAE:
    """Load a trained tokenizer, in eval mode, from a run directory or a model file.

    A prior's run serves too: it holds the tokenizer whose codes it was trained on.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    card, state = read_model(path := tokenizer_file(path))
    if card.stage != "tokenizer":
        raise UserError(f"{path}: a {card.stage}, not a tokenizer; give the tokenizer's run")
    config = config_from({"stage": "tokenizer", **card.build}, str(path))
    assert isinstance(config, TokenizerConfig)
    build = partial(build_tokenizer, config.model, channels=card.image_shape[0])
    return _filled(build, card, state, path).to(device)


def load_prior(path: str | Path, *, device: torch.device | str = "cpu") -> CodePrior:
    """Load a trained prior, in eval mode, from a run directory or a model file.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    card, state = read_model(path)
    if card.stage != "prior":
        raise UserError(f"{path}: a {card.stage}, not a prior; train one with vqvae prior {path}")
    config = config_from({"stage": "prior", "model": card.build.get("model")}, str(path))
    assert isinstance(config, PriorConfig)
    try:
        spec = _SPEC.validate_python(card.build.get("codes"))
        num_classes = _COUNT.validate_python(card.build.get("num_classes"))
    except ValidationError:
        raise UserError(f"{path}: damaged: its card does not say which codes it models") from None
    build = partial(build_prior, config.model, spec, num_classes=num_classes)
    return _filled(build, card, state, path).to(device)


def _filled(build: Callable[[], M], card: ModelCard, state: Mapping[str, Tensor], path: str | Path) -> M:
    try:
        _check_counts(card.build, len(state))
        with torch.device("meta"):  # no memory: a card may ask for any amount
            shapes = {name: tensor.shape for name, tensor in build().state_dict().items()}
        if any(name in state and state[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("of other shapes")
        model = build()
        model.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path}: its weights do not fit its card: {problem[:200]}") from None
    return model.eval()


def _check_counts(build: Mapping[str, Any], most: int) -> None:
    """Refuse more layers than there are tensors: to make them would take for ever."""
    for key, value in build.items():
        if isinstance(value, dict):
            _check_counts(value, most)  # pyright: ignore[reportUnknownArgumentType]
        elif key in ("residual_blocks", "layers", "depth", "groups") and value > most:
            raise ValueError(f"{key} {value:.3g}, but {most} tensors")


def describe(path: str | Path) -> str:
    """Say in a few lines what a model is."""
    card, state = read_model(path)
    lines = {
        "file": str(model_file(path)),
        "stage": card.stage,
        "step": str(card.step),
        "parameters": f"{sum(t.numel() for t in state.values() if t.is_floating_point()):,}",
        "images": "x".join(map(str, card.image_shape)) + " (channels x height x width)",
        "classes": ", ".join(card.classes) or "none",
        "hash": file_hash(model_file(path)),
        "build": json.dumps(card.build),
    }
    return "\n".join(f"{name:12}{value}" for name, value in lines.items())
