"""The weights that a rank trains: all of the model's, or its part of them; and how gradients come together.

The loop, the averages and the checkpoints know ``Weights`` alone. Here is the plain way, where every rank holds
the whole model; ``sharding.py`` has the other.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn

from vqvae.training.gradients import sum_gradients


class Weights(Protocol):
    """The weights that a rank trains.

    Attributes:
        model: what is measured and written.
        parameters: what this rank trains, by its names in the model and in their order.
        nbytes: of the model's parameters, whole.
    """

    model: nn.Module
    parameters: dict[str, nn.Parameter]
    nbytes: int

    def reduce(self, scalars: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
        """Leave in the parameters the gradient of the whole batch; every rank must call.

        Args:
            scalars: this rank's shares of sums over ranks.
            limit: the largest norm of the gradient; it is shortened to that. 0 for no limit.

        Returns:
            The sums of the scalars, and ``gradient_norm``, before it was shortened.
        """
        ...

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this rank's part of a tensor that belongs to a parameter or buffer, such as its average."""
        ...

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return what all ranks' parts make up, the inverse of ``part``; every rank must call."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the state of a whole model; RuntimeError where it is of another model."""
        ...

    def in_model(self) -> AbstractContextManager[None]:
        """Have ``model`` whole on rank 0 for the duration, with the parameters' present values.

        Every rank must call.
        """
        ...


class WholeWeights:
    """All weights of a model, the same on every rank.

    Args:
        model: whose parameters are trained, in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters = dict(model.named_parameters())
        self.nbytes = sum(p.nbytes for p in self.parameters.values())

    def reduce(self, scalars: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
        """Sum gradients and scalars over ranks, then shorten the gradient."""
        summed = sum_gradients(self.parameters.values(), scalars)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), limit or math.inf)
        return summed | {"gradient_norm": norm}

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return the tensor: each rank has all of it."""
        return whole

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Return the tensor: it is whole."""
        return part

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put a model's state in place."""
        self.model.load_state_dict(state)

    def in_model(self) -> AbstractContextManager[None]:
        """Do nothing: the model's parameters are these."""
        return nullcontext()
