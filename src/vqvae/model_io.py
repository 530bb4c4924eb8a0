"""Open models: a run directory or a model file. A file is read once and passed on."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vqvae.config import PriorConfig, TokenizerConfig, config_from
from vqvae.errors import ArgumentError, UserError
from vqvae.model_card import ModelCard, card_from, code_identity, codes_from
from vqvae.model_place import model_place, not_found
from vqvae.models import VQVAE
from vqvae.priors import Prior, PriorModelConfig
from vqvae.run_directory import RunDirectory
from vqvae.tensorfile import parse_tensors, save_tensors
from vqvae.tensors import CodeSpec

M = TypeVar("M", bound=nn.Module)
KIND, VERSION = "vqvae-model", 4


@dataclass(frozen=True)
class ModelFile:
    """A model file that was read.

    Attributes:
        path: the path of the file.
        content: the bytes of the file.
        hash: SHA-256 of the bytes in hexadecimal.
        card: the description of the model in the file.
        state: the parameters and buffers of the network, by name.
    """

    path: Path
    content: bytes = field(repr=False)
    hash: str
    card: ModelCard
    state: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Opened(Generic[M]):
    """A model, and the file that it was opened from.

    Attributes:
        model: the model, in eval mode, on its device.
        card: the description of the model in the file.
        hash: SHA-256 of the file in hexadecimal.
        path: the path of the file.
    """

    model: M
    card: ModelCard
    hash: str
    path: Path


def choose_device(name: str) -> torch.device:
    """Return the device with a name; ``auto`` is CUDA if available, else MPS, else the CPU.

    Raises:
        ArgumentError: when there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise ArgumentError("device", f"{name}: no such device here; use auto or cpu") from None


def save_model(path: Path, state: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write weights and card as one safetensors file, atomically; a tokenizer's card gets its ``identity``."""
    if card.stage == "tokenizer":
        card = replace(card, identity=code_identity(card.build, state))
    save_tensors(path, KIND, VERSION, {"card": vars(card)}, state)


def model_file(path: str | Path) -> Path:
    """Return the model file of a run directory, a named model, or the file itself; see ``model_place``.

    Raises:
        UserError: where there is none.
    """
    path = model_place(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path}: no such run directory or model file{not_found(path)}")
    model = RunDirectory(path).model
    if not model.is_file():
        raise UserError(f"{path}: no {model.name} in it; a run writes one at its first checkpoint")
    return model


def read_model(path: str | Path) -> ModelFile:
    """Read the model file of a run directory, of a named model, or the file itself.

    Raises:
        UserError: when it is missing, damaged, of another version, or not a model of this program.
    """
    file = model_file(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    return parse_model(content, file)


def parse_model(content: bytes, path: Path) -> ModelFile:
    """Read a model file given its bytes; ``path`` is for error messages.

    Raises:
        UserError: as ``read_model``.
    """
    header, state = parse_tensors(content, path, KIND, VERSION)
    card = card_from(header.get("card"), path)
    return ModelFile(path, content, hashlib.sha256(content).hexdigest(), card, state)


def read_tokenizer(path: str | Path) -> ModelFile:
    """Read a tokenizer's file as ``read_model`` does; a prior's run holds a copy of its tokenizer's file."""
    place = model_place(path)
    kept = RunDirectory(place).tokenizer
    return read_model(kept if kept.parent.is_dir() else place)


def read_tokenizer_alone(path: str | Path) -> ModelFile:
    """Read a tokenizer's file as ``read_tokenizer`` does, but refuse the run of a prior.

    Raises:
        UserError: as ``read_model``, and for the run of a prior, which was probably not meant.
    """
    place = model_place(path)
    run = RunDirectory(place)
    if run.exists and run.tokenizer.is_file():
        raise UserError(f"{place}: a prior, not a tokenizer; give the tokenizer's run, or {run.tokenizer}")
    return read_tokenizer(place)


def best_so_far(path: Path) -> float:
    """Return the measurement of a run's best model; infinity if there is no best model, or it is damaged."""
    try:
        value = read_model(path).card.validation
    except UserError:
        return math.inf
    return math.inf if value is None else value


def build_tokenizer(config: VQVAE.Config, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> VQVAE:
    """Make an untrained tokenizer; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build(channels=channels, forwards_per_update=forwards_per_update, seed=seed)


def build_prior(config: PriorModelConfig, spec: CodeSpec, *, num_classes: int = 0, seed: int = 0) -> Prior:
    """Make an untrained prior; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.build(spec, num_classes=num_classes)


def open_tokenizer(source: str | Path | ModelFile, *, device: torch.device | str = "cpu") -> Opened[VQVAE]:
    """Open a trained tokenizer.

    Args:
        source: a tokenizer's run directory, a model file, or a model file that was read before. A prior's run
            serves too: it holds the tokenizer whose codes the prior models.
        device: the device of the model.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    if not isinstance(source, ModelFile):
        source = read_tokenizer(source)
    path, card = source.path, source.card
    if card.stage != "tokenizer":
        raise UserError(f"{path}: a {card.stage}, not a tokenizer; give the tokenizer's run")
    config = config_from({"stage": "tokenizer", **card.build}, str(path))
    assert isinstance(config, TokenizerConfig)
    if not card.identity:
        raise UserError(f"{path}: damaged: its card does not say the identity of its codes")
    return _opened(source, partial(build_tokenizer, config.model, channels=card.image_shape[0]), device)


def open_prior(source: str | Path | ModelFile, *, device: torch.device | str = "cpu") -> Opened[Prior]:
    """Open a trained prior.

    Args:
        source: a prior's run directory, a model file, or a model file that was read before.
        device: the device of the model.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    if not isinstance(source, ModelFile):
        source = read_model(source)
    path, card = source.path, source.card
    if card.stage != "prior":
        raise UserError(f"{path}: a {card.stage}, not a prior; train one with vqvae prior {path}")
    config = config_from({"stage": "prior", "model": card.build.get("model")}, str(path))
    assert isinstance(config, PriorConfig)
    spec, num_classes = codes_from(card, path)
    return _opened(source, partial(build_prior, config.model, spec, num_classes=num_classes), device)


def load_tokenizer(path: str | Path, *, device: torch.device | str = "cpu") -> VQVAE:
    """Load a trained tokenizer, in eval mode.

    Args:
        path: a run directory or a model file; the name of a model in this package, such as ``shapes``; or a model
            of the Hugging Face Hub, ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``. A prior's run serves too: it
            holds the tokenizer whose codes the prior models.
        device: the device of the tokenizer.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    return open_tokenizer(path, device=device).model


def load_prior(path: str | Path, *, device: torch.device | str = "cpu") -> Prior:
    """Load a trained prior, in eval mode.

    Args:
        path: as ``load_tokenizer`` takes it, of a prior.
        device: the device of the prior.

    Raises:
        UserError: when there is none at the path, or the file is another kind of model or damaged.
    """
    return open_prior(path, device=device).model


def _opened(file: ModelFile, build: Callable[[], M], device: torch.device | str) -> Opened[M]:
    return Opened(_filled(build, file).to(device), file.card, file.hash, file.path)


def _filled(build: Callable[[], M], file: ModelFile) -> M:
    """Build the network that a card describes and give it the file's weights."""
    try:
        _check_counts(file.card.build, len(file.state))
        with torch.device("meta"):  # no memory: a card may ask for any amount
            shapes = {name: tensor.shape for name, tensor in build().state_dict().items()}
        if any(name in file.state and file.state[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("a tensor has another shape")
        model = build()
        model.load_state_dict(file.state)
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{file.path}: its weights do not fit its card: {problem[:200]}") from None
    return model.eval()


def _check_counts(build: Mapping[str, Any], most: int) -> None:
    """Refuse a card with more layers than the file has tensors: building them would take too long."""
    for key, value in build.items():
        if isinstance(value, dict):
            _check_counts(value, most)  # pyright: ignore[reportUnknownArgumentType]
        elif key in ("residual_blocks", "layers", "depth", "groups") and value > most:
            raise ValueError(f"{key} {value:.3g}, but the file has {most} tensors")


def describe(path: str | Path) -> str:
    """Return a description of a model in a few lines."""
    file = read_model(path)
    card = file.card
    lines = {
        "file": str(file.path),
        "stage": card.stage,
        "step": str(card.step),
        "parameters": f"{sum(t.numel() for t in file.state.values() if t.is_floating_point()):,}",
        "images": "x".join(map(str, card.image_shape)) + " (channels x height x width)",
        "classes": ", ".join(card.classes) or "none",
        "hash": file.hash,
        "identity" if card.stage == "tokenizer" else "tokenizer": card.identity or card.tokenizer,
        "build": json.dumps(card.build),
    }
    return "\n".join(f"{name:12}{value}" for name, value in lines.items())
