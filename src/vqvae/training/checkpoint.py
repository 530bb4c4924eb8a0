"""Checkpoints: the state of a run after a step, in one safetensors file.

The state is every group's weights, averaged weights and optimizers.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.distributed import rank
from vqvae.errors import FormatError, UserError
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training.group import Group

KIND, VERSION = "vqvae-checkpoint", 3
_LOG = logging.getLogger(__name__)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after ``step`` optimizer steps."""
    return folder / f"step-{step:08d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first, ordered by the steps in their names."""
    return sorted(folder.glob("step-????????.safetensors"))


def save_checkpoint(folder: Path, counts: dict[str, int], groups: Mapping[str, Group], *, keep: int) -> None:
    """Write the state after ``counts["step"]`` steps, then remove all but the newest ``keep`` checkpoints.

    Rank 0 writes, but every rank must call. The file holds whole tensors, even if weights are sharded over ranks.

    Raises:
        UserError: when a tensor is not finite; then nothing is written or removed.
    """
    tensors: dict[str, Tensor] = {}
    for group in groups.values():
        for key, name, part in _parts(group):
            whole = group.weights.whole(name, part)
            if rank() == 0:
                tensors[key] = whole
    if rank():
        return
    save_tensors(checkpoint_path(folder, counts["step"]), KIND, VERSION, counts, tensors)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()


def _parts(group: Group) -> Iterator[tuple[str, str, Tensor]]:
    """Yield this rank's tensors of a group's state.

    Each comes with its key in the file and the name of its parameter or buffer: (key, name, tensor).
    """
    weights = group.weights
    for name, tensor in weights.module.state_dict().items():
        yield (
            f"{group.name}/weights/{name}",
            name,
            weights.parameters[name] if name in weights.parameters else tensor,
        )
    for name, tensor in group.weight_ema.weights.items():
        yield f"{group.name}/average/{name}", name, tensor
    for name, parameter in group.learning.items():
        for optimizer in group.optimizers:
            for what, value in optimizer.state.get(parameter, {}).items():
                yield f"{group.name}/optimizer/{what}/{name}", name, torch.as_tensor(value)


def check_space(folder: Path, groups: Mapping[str, Group], *, keep: int) -> None:
    """Check that the disk has room for the run's checkpoints and models, and for one more of each.

    Raises:
        UserError: when the disk has less room.
    """
    # beside weights and buffers, a checkpoint holds the average and up to two moments of every parameter
    one = sum(_nbytes(group) + 3 * group.weights.nbytes for group in groups.values())
    model = _nbytes(next(iter(groups.values())))
    taken = sum(path.stat().st_size for path in checkpoints(folder))
    needed, free = (keep + 1) * one + 3 * model - taken, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: its checkpoints need {needed / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free: "
            "make room, or set --out to another disk" + (f" or --training.keep below {keep}" if keep > 1 else "")
        )


def _nbytes(group: Group) -> int:
    return group.weights.nbytes + sum(buffer.nbytes for buffer in group.module.buffers())


def load_newest(folder: Path, groups: Mapping[str, Group]) -> dict[str, int]:
    """Load the state of the newest checkpoint; return its counts, which are empty if there is no checkpoint.

    A damaged checkpoint is renamed to ``NAME.damaged``, with a warning, and the checkpoint before it is loaded.

    Raises:
        UserError: when all checkpoints are damaged, or do not fit the model that the run's config describes.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            header = load_checkpoint(path, groups)
        except FormatError as error:
            if path == found[0]:
                raise UserError(f"{error}; and no other checkpoint is left: start a new run") from None
            _LOG.warning("%s; the run continues from the checkpoint before it", error)
            path.rename(path.with_name(f"{path.name}.damaged"))
            continue
        return {name: value for name, value in header.items() if isinstance(value, int)}
    return {}


def load_checkpoint(path: Path, groups: Mapping[str, Group]) -> dict[str, Any]:
    """Load the state in a checkpoint; return its header.

    Raises:
        FormatError: when the file is damaged.
        UserError: when the checkpoint does not fit the model that the run's config describes.
    """
    header, tensors = load_tensors(path, KIND, VERSION)
    if not isinstance(header.get("step"), int) or header["step"] < 0:
        raise FormatError(f"{path}: damaged: its header has no step")
    try:
        if unknown := {name.split("/")[0] for name in tensors} - groups.keys():
            raise LookupError(f"it also holds {', '.join(sorted(unknown))}")
        for group in groups.values():
            weights = group.weights
            weights.load(_under(tensors, f"{group.name}/weights/"))
            averages = _under(tensors, f"{group.name}/average/")
            group.weight_ema.load({name: weights.part(name, whole) for name, whole in averages.items()})
            _load_optimizers(group, _under(tensors, f"{group.name}/optimizer/"))
        return header
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: it does not fit the model that config.yaml describes: {problem}") from None


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizers(group: Group, tensors: dict[str, Tensor]) -> None:
    state: dict[str, dict[str, Tensor]] = {}
    for key, whole in tensors.items():
        what, name = key.split("/")
        like, tensor = group.learning[name], group.weights.part(name, whole)
        if tensor.shape == like.shape:
            # the fused kernels walk memory, not indices: moments need the (channels-last) strides of their weights
            tensor = torch.empty_like(like).copy_(tensor)
        state.setdefault(name, {})[what] = tensor
    names = {parameter: name for name, parameter in group.learning.items()}
    for optimizer in group.optimizers:
        param_groups = optimizer.state_dict()["param_groups"]
        own = [names[parameter] for each in optimizer.param_groups for parameter in each["params"]]
        found = {index: state[name] for index, name in enumerate(own) if name in state}
        optimizer.load_state_dict({"state": found, "param_groups": param_groups})
