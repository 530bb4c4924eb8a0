"""A run's state at a step: model, averaged weights and optimizer, in one safetensors file."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vqvae.errors import UserError
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training.average import AveragedWeights

KIND, VERSION = "vqvae-checkpoint", 2


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
    path = checkpoint_path(folder, step)
    save_tensors(path, KIND, VERSION, {"step": step}, tensors)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(path: Path, model: nn.Module, average: AveragedWeights, optimizer: Optimizer) -> int:
    """Put a checkpoint's state in place; return its step.

    Raises:
        UserError: when the file is damaged, or of another model than the run's config describes.
    """
    header, tensors = load_tensors(path, KIND, VERSION)
    try:
        model.load_state_dict(_part(tensors, "model."))
        average.load(_part(tensors, "average."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
        return int(header["step"])
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: a checkpoint of another model than config.yaml describes: {problem}") from None


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".")
        like = parameters[int(index)]
        if tensor.shape == like.shape:
            # the fused kernels walk memory, not indices: moments must lie as their (channels-last) weights do
            tensor = torch.empty_like(like).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
