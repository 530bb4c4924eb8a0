"""A run's state at a step: model, averaged weights and optimizer, in one safetensors file."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vqvae.errors import FormatError, UserError
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training.average import AveragedWeights

KIND, VERSION = "vqvae-checkpoint", 2
_LOG = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the name of the checkpoint after ``step`` optimizer steps."""
    return folder / f"step-{step:08d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first, by the step in their names."""
    return sorted(folder.glob("step-????????.safetensors"))


def save_checkpoint(
    folder: Path,
    counts: dict[str, int],
    model: nn.Module,
    average: AveragedWeights,
    optimizer: Optimizer,
    *,
    keep: int,
) -> Path:
    """Write the state after ``counts["step"]`` steps, then remove all but the newest ``keep``.

    Raises:
        UserError: when something in it is not finite; nothing is written or removed.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.weights.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    path = checkpoint_path(folder, counts["step"])
    save_tensors(path, KIND, VERSION, counts, tensors)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def check_space(folder: Path, model: nn.Module, average: AveragedWeights, *, keep: int) -> None:
    """Raise UserError where the disk has no room for a run's checkpoints and models, with one more of each."""
    state = sum(t.nbytes for t in model.state_dict().values())
    weights = sum(t.nbytes for t in average.weights.values())
    one = state + 3 * weights  # the average and Adam's two moments are as large as the parameters
    taken = sum(path.stat().st_size for path in checkpoints(folder))
    needed, free = (keep + 1) * one + 3 * state - taken, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: its checkpoints need {needed / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free: "
            f"make room, or set --out to another disk or --training.keep below {keep}"
        )


def load_newest(folder: Path, model: nn.Module, average: AveragedWeights, optimizer: Optimizer) -> dict[str, int]:
    """Put the newest checkpoint's state in place; return its counts, none where there is no checkpoint.

    A damaged one is set aside, as ``NAME.damaged``, with a warning, for the one before it.

    Raises:
        UserError: when all are damaged, or of another model than the run's config describes.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            header = load_checkpoint(path, model, average, optimizer)
        except FormatError as error:
            if path == found[0]:
                raise UserError(f"{error}; and no other checkpoint is left: start a new run") from None
            _LOG.warning("%s; going on from the checkpoint before it", error)
            path.rename(path.with_name(f"{path.name}.damaged"))
            continue
        return {name: value for name, value in header.items() if isinstance(value, int)}
    return {}


def load_checkpoint(
    path: Path, model: nn.Module, average: AveragedWeights, optimizer: Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's state in place; return its header.

    Raises:
        FormatError: when the file is damaged.
        UserError: when it is of another model than the run's config describes.
    """
    header, tensors = load_tensors(path, KIND, VERSION)
    try:
        model.load_state_dict(_part(tensors, "model."))
        average.load(_part(tensors, "average."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
        return {**header, "step": int(header["step"])}
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
