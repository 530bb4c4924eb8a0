"""The weights of a module that this rank holds, whole or sharded, and the sum of the ranks' gradients.

The loop, the averages and the checkpoints use the protocol ``Weights``. With ``WholeWeights``, every rank holds
the whole module. With ``ShardedWeights`` (``sharding.py``), every rank holds a slice of each parameter.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn

from vqvae.training.gradients import sum_gradients


class Weights(Protocol):
    """The weights of a module that this rank trains.

    Attributes:
        module: the module that is measured and saved.
        parameters: this rank's part of each parameter, by name, in the order of the module.
        nbytes: number of bytes of all parameters of the whole module.
    """

    module: nn.Module
    parameters: dict[str, nn.Parameter]
    nbytes: int

    def reduce(self, scalars: Mapping[str, Tensor], limit: float, *, norm: str) -> dict[str, Tensor]:
        """Sum gradients over ranks to the gradient of the whole batch; every rank must call.

        Args:
            scalars: this rank's summands of further sums over ranks, at least one.
            limit: a gradient with a larger norm is scaled down to this norm; 0 for no limit.
            norm: the name of the gradient's norm in the result.

        Returns:
            The sums of the scalars, and the gradient's norm before scaling.
        """
        ...

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's slice of a tensor that belongs to a parameter or buffer, such as its average."""
        ...

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the whole tensor from the slices of all ranks, the inverse of ``part``; every rank must call."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the state of a whole module; RuntimeError if the state does not fit."""
        ...

    def in_module(self) -> AbstractContextManager[None]:
        """Put the whole weights into rank 0's ``module`` for the block; every rank must call."""
        ...


class WholeWeights:
    """All weights of a module, the same on every rank.

    Args:
        module: the module whose parameters are trained, in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.parameters = dict(module.named_parameters())
        self.nbytes = sum(p.nbytes for p in self.parameters.values())

    def reduce(self, scalars: Mapping[str, Tensor], limit: float, *, norm: str) -> dict[str, Tensor]:
        """Sum gradients and scalars over ranks, then clip the gradient."""
        learning = [p for p in self.parameters.values() if p.requires_grad]
        summed = sum_gradients(learning, scalars)
        return summed | {norm: nn.utils.clip_grad_norm_(learning, limit or math.inf)}

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return the tensor: each rank holds the whole tensor."""
        return whole

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the tensor: it is whole already."""
        return part

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the module's state."""
        self.module.load_state_dict(state)

    def in_module(self) -> AbstractContextManager[None]:
        """Do nothing: the parameters are the module's own."""
        return nullcontext()
