"""Weights shared out over ranks by FSDP2: what does not fit on one device.

Of every parameter of a network, rank r of R holds the r-th part of its rows, and with it that part's gradient,
moments and average. A layer is gathered when its forward or backward pass comes, and its gradients are summed
where they belong, by ``torch.distributed.fsdp.fully_shard`` (arXiv 2304.11277, its second version).
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from vqvae.distributed import gather_rows, rank, world_size
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.priors import CodeTransformer, PixelCNN
from vqvae.training.gradients import sum_gradients

_SQUARES = "squares of the sharded gradients"


def sharded(model: nn.Module) -> nn.Module:
    """Return a copy of a model to train with, whose networks are sharded; the rest it shares with the model.

    A tokenizer's quantizer stays whole on every rank: its update reads and writes codebooks in place, and the
    ranks' codebooks must agree to the bit. Parameters without an element are whole too.

    Raises:
        UserError: when this torch has only means of gradients.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise UserError(f"--training.shard needs torch 2.13 or later; this is {torch.__version__}")
    # whatever follows the logits here is out of place
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module .* returned a view")
    tensors = [*model.parameters(), *model.buffers()]
    trained = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})  # of the modules alone
    mesh = init_device_mesh(tensors[0].device.type, (world_size(),))
    for unit in _units(trained):
        parameters = list(unit.parameters())
        for parameter in parameters:
            if not isinstance(parameter, DTensor):  # of a unit within this one
                parameter.data = parameter.data.contiguous()  # FSDP's condition; what was channels-last is not
        fully_shard(unit, mesh=mesh, ignored_params={p for p in parameters if not p.numel()})
        assert isinstance(unit, FSDPModule)
        # a rank's loss carries its share of the batch already, so gradients are summed; gloo has no other way
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    return trained


def _units(model: nn.Module) -> list[nn.Module]:
    """Return what is gathered at once, a unit before what it is within."""
    match model:
        case VQVAE():
            return [model.encoder, model.decoder]
        case CodeTransformer():
            return [*model.blocks, model]
        case PixelCNN():
            return [*model.layers, model]
        case _:
            raise TypeError(f"no way is known to shard a {type(model).__name__}")


class ShardedWeights:
    """This rank's parts of a model's weights.

    The parts are plain tensors over the memory of FSDP's own, so that optimizer, averages and norms are those of
    any tensors. The model itself keeps only its shapes, and what is not sharded, but for ``in_model``.

    Args:
        model: what is trained, the same on all ranks; its networks lose their weights to ``trained``.

    Attributes:
        trained: the copy of the model whose networks are to be run in training.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        own = dict(model.named_parameters())
        self.nbytes = sum(p.nbytes for p in own.values())
        like = {name: p.detach().to("meta") for name, p in own.items()}  # strides too, channels-last as they are
        self.trained = sharded(model)
        found = dict(self.trained.named_parameters())
        self.shards = {name: p for name, p in found.items() if isinstance(p, DTensor)}
        self.like = {name: like[name] for name in self.shards}
        self.emptied = {name: own[name] for name in self.shards}
        self.kept = {name: p for name, p in own.items() if name not in self.shards}
        self._empty()
        local = {name: nn.Parameter(shard.to_local().detach()) for name, shard in self.shards.items()}
        self.parameters = {name: local.get(name, parameter) for name, parameter in own.items()}

    def _empty(self) -> None:
        for parameter in self.emptied.values():
            parameter.data = parameter.data.new_empty(0)

    def _fill(self, name: str) -> Tensor:
        """Give a parameter of the model its memory back; return it."""
        parameter = self.emptied[name]
        parameter.data = torch.empty_like(self.like[name], device=parameter.device)
        return parameter.data

    @torch.no_grad()
    def reduce(self, scalars: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
        """Take over the gradients that FSDP has summed, sum the others and the scalars, shorten all of them."""
        for name, shard in self.shards.items():
            gradient, shard.grad = shard.grad, None
            self.parameters[name].grad = gradient.to_local() if isinstance(gradient, DTensor) else None
        squares = nn.utils.get_total_norm(_gradients(self.parameters[name] for name in self.shards)).square()
        summed = sum_gradients(self.kept.values(), {**scalars, _SQUARES: squares})
        rest = nn.utils.get_total_norm(_gradients(self.kept.values()))
        norm = (summed.pop(_SQUARES) + rest.square()).sqrt()
        if limit:
            shorter = (limit / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(_gradients(self.parameters.values()), shorter)  # pyright: ignore
        return summed | {"gradient_norm": norm}

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's rows of a tensor: as many on each rank, fewer or none on the last."""
        if name not in self.shards or not whole.ndim:
            return whole
        each = -(-len(whole) // world_size())
        return whole[rank() * each : (rank() + 1) * each]

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the rows of all ranks; rank 0's in the host's memory, so that its device holds one at most."""
        if name not in self.shards or not part.ndim:
            return part
        gathered = gather_rows(part.detach())
        return gathered if rank() else gathered.cpu()

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load a whole model, and keep of it this rank's parts."""
        try:
            for name in self.emptied:
                self._fill(name)
            self.model.load_state_dict(state)
            for name, parameter in self.emptied.items():
                self.parameters[name].copy_(self.part(name, parameter.data))
        finally:
            self._empty()

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Gather the weights into rank 0's model for the duration, parameter by parameter."""
        try:
            for name in self.emptied:
                whole = self.whole(name, self.parameters[name])
                if rank() == 0:
                    self._fill(name).copy_(whole)
            yield
        finally:
            self._empty()


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
