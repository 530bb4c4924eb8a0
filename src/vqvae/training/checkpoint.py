"""A run's state at a step: model, averaged weights and optimizer, in one safetensors file."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from vqvae.errors import UserError
from vqvae.files import write_atomically
from vqvae.training.average import AveragedWeights

FORMAT, VERSION = "vqvae-checkpoint", "1"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the name of the checkpoint after ``step`` optimizer steps."""
    return folder / f"step-{step:08d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first, by the step in their names."""
    return sorted(folder.glob("step-????????.safetensors"))


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, average: AveragedWeights, optimizer: Optimizer, *, keep: int
) -> Path:
    """Write the state after ``step`` steps, then remove all but the newest ``keep``."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.weights.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    metadata = {"format": FORMAT, "version": VERSION, "state": json.dumps({"step": step})}
    path = checkpoint_path(folder, step)
    write_atomically(path, save({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, metadata))
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path, model: nn.Module, average: AveragedWeights, optimizer: Optimizer) -> int:
    """Put a checkpoint's state in place; return its step.

    Raises:
        UserError: when the file is damaged, or of another model than the run's config describes.
    """
    try:
        with safe_open(path, framework="pt") as content:  # pyright: ignore[reportUnknownVariableType]
            metadata = content.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                raise UserError(f"{path}: not a checkpoint of this program (format {FORMAT}, version {VERSION})")
            step = int(json.loads(metadata["state"])["step"])
            tensors: dict[str, Tensor] = {name: content.get_tensor(name) for name in content.keys()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}; delete it to resume from the one before") from None
    try:
        model.load_state_dict(_part(tensors, "model."))
        average.load(_part(tensors, "average."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
    except (RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: a checkpoint of another model than config.yaml describes: {problem}") from None
    return step


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
