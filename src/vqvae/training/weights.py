"""The weights of a module that this rank holds, all of them or a slice; and how the ranks' gradients are summed.

The loop, the averages and the checkpoints use ``Weights`` alone. In this file every rank holds the whole module;
in ``sharding.py`` every rank holds a slice of each parameter.
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
        module: the module that is measured and written.
        parameters: what this rank holds of each parameter, by the parameter's name in the module, in order.
        nbytes: of the whole module's parameters.
    """

    module: nn.Module
    parameters: dict[str, nn.Parameter]
    nbytes: int

    def reduce(self, scalars: Mapping[str, Tensor], limit: float, *, norm: str) -> dict[str, Tensor]:
        """Leave the gradient of the whole batch in the parameters; every rank must call.

        Args:
            scalars: what this rank adds to each sum over ranks, one scalar at least.
            limit: the gradient is scaled down where its norm is larger; 0 for no limit.
            norm: the name for the gradient's norm.

        Returns:
            The sums of the scalars, and the gradient's norm before it was scaled down.
        """
        ...

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's slice of a tensor of a parameter or buffer, such as the parameter's average."""
        ...

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the whole tensor from the slices of all ranks, the inverse of ``part``; every rank must call."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the state of a whole module; RuntimeError where it is another module's."""
        ...

    def in_module(self) -> AbstractContextManager[None]:
        """Hold the whole weights in rank 0's ``module`` for the duration; every rank must call."""
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
        """Return the tensor: each rank holds the whole of it."""
        return whole

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the tensor: it is whole."""
        return part

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the module's state."""
        self.module.load_state_dict(state)

    def in_module(self) -> AbstractContextManager[None]:
        """Do nothing: the parameters are the module's own."""
        return nullcontext()
