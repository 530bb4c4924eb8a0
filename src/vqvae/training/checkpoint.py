"""A run's state at a step: model, averaged weights and optimizer, in one safetensors file."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vqvae.distributed import rank
from vqvae.errors import FormatError, UserError
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training.weight_ema import WeightEMA
from vqvae.training.weights import Weights

KIND, VERSION = "vqvae-checkpoint", 3
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
    weights: Weights,
    average: WeightEMA,
    optimizer: Optimizer,
    *,
    keep: int,
) -> None:
    """Write the state after ``counts["step"]`` steps, then remove all but the newest ``keep``.

    Rank 0 writes, but every rank must call. What is written is whole, however it lies over ranks.

    Raises:
        UserError: when something in it is not finite; nothing is written or removed.
    """
    tensors: dict[str, Tensor] = {}
    for key, name, part in _parts(weights, average, optimizer):
        whole = weights.whole(name, part)
        if rank() == 0:
            tensors[key] = whole
    if rank():
        return
    save_tensors(checkpoint_path(folder, counts["step"]), KIND, VERSION, counts, tensors)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()


def _parts(weights: Weights, average: WeightEMA, optimizer: Optimizer) -> Iterator[tuple[str, str, Tensor]]:
    """Yield a state's tensors as this rank has them: the key in the file, the parameter or buffer, the tensor."""
    for name, tensor in weights.model.state_dict().items():
        yield f"model.{name}", name, weights.parameters[name] if name in weights.parameters else tensor
    for name, tensor in average.weights.items():
        yield f"average.{name}", name, tensor
    names = list(weights.parameters)
    for index, state in optimizer.state_dict()["state"].items():
        for what, value in state.items():
            yield f"optimizer.{index}.{what}", names[index], torch.as_tensor(value)


def check_space(folder: Path, weights: Weights, *, keep: int) -> None:
    """Raise UserError where the disk has no room for a run's checkpoints and models, with one more of each."""
    state = weights.nbytes + sum(buffer.nbytes for buffer in weights.model.buffers())
    one = state + 3 * weights.nbytes  # the average and Adam's two moments are as large as the parameters
    taken = sum(path.stat().st_size for path in checkpoints(folder))
    needed, free = (keep + 1) * one + 3 * state - taken, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: its checkpoints need {needed / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free: "
            f"make room, or set --out to another disk or --training.keep below {keep}"
        )


def load_newest(folder: Path, weights: Weights, average: WeightEMA, optimizer: Optimizer) -> dict[str, int]:
    """Put the newest checkpoint's state in place; return its counts, none where there is no checkpoint.

    A damaged one is set aside, as ``NAME.damaged``, with a warning, for the one before it.

    Raises:
        UserError: when all are damaged, or of another model than the run's config describes.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            header = load_checkpoint(path, weights, average, optimizer)
        except FormatError as error:
            if path == found[0]:
                raise UserError(f"{error}; and no other checkpoint is left: start a new run") from None
            _LOG.warning("%s; going on from the checkpoint before it", error)
            path.rename(path.with_name(f"{path.name}.damaged"))
            continue
        return {name: value for name, value in header.items() if isinstance(value, int)}
    return {}


def load_checkpoint(path: Path, weights: Weights, average: WeightEMA, optimizer: Optimizer) -> dict[str, Any]:
    """Put a checkpoint's state in place; return its header.

    Raises:
        FormatError: when the file is damaged.
        UserError: when it is of another model than the run's config describes.
    """
    header, tensors = load_tensors(path, KIND, VERSION)
    if not isinstance(header.get("step"), int) or header["step"] < 0:
        raise FormatError(f"{path}: damaged: it does not say its step")
    try:
        weights.load(_under(tensors, "model."))
        average.load({name: weights.part(name, t) for name, t in _under(tensors, "average.").items()})
        _load_optimizer(optimizer, weights, _under(tensors, "optimizer."))
        return header
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: a checkpoint of another model than config.yaml describes: {problem}") from None


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, weights: Weights, tensors: dict[str, Tensor]) -> None:
    parameters = list(weights.parameters.items())  # in the optimizer's order
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".")
        owner, like = parameters[int(index)]
        tensor = weights.part(owner, tensor)
        if tensor.shape == like.shape:
            # the fused kernels walk memory, not indices: moments must lie as their (channels-last) weights do
            tensor = torch.empty_like(like).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
