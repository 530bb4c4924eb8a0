"""Weights sharded over ranks by FSDP2, for models that do not fit on one device.

Rank r of R holds the r-th slice of the rows of every parameter, and of the parameter's gradient, moments and
average. ``torch.distributed.fsdp.fully_shard`` (arXiv 2304.11277, version 2) gathers a layer's weights for its
forward and its backward pass, and sums each slice's gradient on the rank that holds the slice.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from vqvae.distributed import gather_rows, rank, world_size
from vqvae.errors import UserError
from vqvae.training.gradients import sum_gradients

_SQUARES = "squares of the sharded gradients"


@runtime_checkable
class Shardable(Protocol):
    """A module that says how its weights can be sharded."""

    def sharding_units(self) -> Sequence[nn.Module]:
        """Return the modules whose weights are gathered one module at a time.

        If one unit contains another, the inner one comes first. Parameters outside all units stay whole on every
        rank.
        """
        ...


def sharded(model: nn.Module) -> nn.Module:
    """Return a copy of a module for training. The weights of its sharding units are sharded.

    All other tensors are those of the module itself. A tokenizer's quantizer stays whole on every rank: its update
    reads and writes codebooks in place, and the codebooks of all ranks must be bit-equal. Parameters without
    elements stay whole too.

    Raises:
        TypeError: when the module has no ``sharding_units``.
        UserError: when this version of torch can only average gradients.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise UserError(f"--training.shard needs torch 2.13 or later; this is {torch.__version__}")
    # FSDP puts hooks on outputs. A view that is changed in place would lose its hook; no view is changed here
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module .* returned a view")
    tensors = [*model.parameters(), *model.buffers()]
    trained = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})  # copies modules, not tensors
    if not isinstance(trained, Shardable):
        raise TypeError(f"{type(model).__qualname__} defines no sharding_units, so its weights cannot be sharded")
    mesh = init_device_mesh(tensors[0].device.type, (world_size(),))
    for unit in trained.sharding_units():
        parameters = list(unit.parameters())
        for parameter in parameters:
            if not isinstance(parameter, DTensor):  # else it belongs to a unit inside this one
                parameter.data = parameter.data.contiguous()  # FSDP requires it, so channels-last is given up
        fully_shard(unit, mesh=mesh, ignored_params={p for p in parameters if not p.numel()})
        assert isinstance(unit, FSDPModule)
        # each rank's loss is multiplied by its fraction of the batch, so gradients are summed, not averaged; gloo
        # can only sum
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    return trained


class ShardedWeights:
    """This rank's slices of a module's weights.

    The slices are plain tensors in FSDP's memory, so the optimizer, the averages and the norms use them like any
    tensors. The sharded parameters of the module itself are empty, except inside ``in_module``.

    Args:
        module: the module that is trained, equal on all ranks; its sharded weights move to ``trained``.

    Attributes:
        trained: the copy of the module that runs in training.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        own = dict(module.named_parameters())
        self.nbytes = sum(p.nbytes for p in own.values())
        like = {name: p.detach().to("meta") for name, p in own.items()}  # strides too, channels-last as they are
        self.trained = sharded(module)
        found = dict(self.trained.named_parameters())
        self.shards = {name: p for name, p in found.items() if isinstance(p, DTensor)}
        self.like = {name: like[name] for name in self.shards}
        self.emptied = {name: own[name] for name in self.shards}
        self.kept = {name: p for name, p in own.items() if name not in self.shards}
        self._empty()
        local = {
            name: nn.Parameter(shard.to_local().detach(), requires_grad=shard.requires_grad)
            for name, shard in self.shards.items()
        }
        self.parameters = {name: local.get(name, parameter) for name, parameter in own.items()}

    def _empty(self) -> None:
        for parameter in self.emptied.values():
            parameter.data = parameter.data.new_empty(0)

    def _fill(self, name: str) -> Tensor:
        """Allocate memory for a parameter of the module; return the memory."""
        parameter = self.emptied[name]
        parameter.data = torch.empty_like(self.like[name], device=parameter.device)
        return parameter.data

    @torch.no_grad()
    def reduce(self, scalars: Mapping[str, Tensor], limit: float, *, norm: str) -> dict[str, Tensor]:
        """Take the gradients that FSDP has summed, sum the other gradients and the scalars, clip the gradient."""
        for name, shard in self.shards.items():
            gradient, shard.grad = shard.grad, None
            self.parameters[name].grad = gradient.to_local() if isinstance(gradient, DTensor) else None
        squares = nn.utils.get_total_norm(_gradients(self.parameters[name] for name in self.shards)).square()
        summed = sum_gradients(_learning(self.kept), {**scalars, _SQUARES: squares})
        rest = nn.utils.get_total_norm(_gradients(self.kept.values()))
        length = (summed.pop(_SQUARES) + rest.square()).sqrt()
        if limit:
            factor = (limit / (length + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(_gradients(self.parameters.values()), factor)  # pyright: ignore
        return summed | {norm: length}

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's rows of a tensor: the same number on each rank, fewer or none on the last ranks."""
        if name not in self.shards or not whole.ndim:
            return whole
        each = -(-len(whole) // world_size())
        return whole[rank() * each : (rank() + 1) * each]

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the rows of all ranks, on rank 0 in host memory; a device holds one whole tensor at a time."""
        if name not in self.shards or not part.ndim:
            return part
        gathered = gather_rows(part.detach())
        return gathered if rank() else gathered.cpu()

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the state of a whole module, and keep this rank's slices."""
        try:
            for name in self.emptied:
                self._fill(name)
            self.module.load_state_dict(state)
            for name, parameter in self.emptied.items():
                self.parameters[name].copy_(self.part(name, parameter.data))
        finally:
            self._empty()

    @contextmanager
    def in_module(self) -> Iterator[None]:
        """Gather the weights into rank 0's module for the block, one parameter at a time."""
        try:
            for name in self.emptied:
                whole = self.whole(name, self.parameters[name])
                if rank() == 0:
                    self._fill(name).copy_(whole)
            yield
        finally:
            self._empty()


def _learning(parameters: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    return [p for p in parameters.values() if p.requires_grad]


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
