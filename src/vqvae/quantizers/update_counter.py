"""Count the updates of a quantizer, on which its schedules depend, and decide which forwards it learns from."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vqvae.quantizers.base import Quantizer

_Method = TypeVar("_Method", bound=Callable[..., Any])


def not_compiled(method: _Method) -> _Method:
    """Return a method that ``torch.compile`` does not compile: records and updates are not part of a graph."""
    return torch.compiler.disable(method)  # pyright: ignore[reportReturnType, reportCallIssue, reportArgumentType]


def learns(module: nn.Module) -> bool:
    """Return whether a module learns from the current forward.

    It learns in training mode, but not inside a backward pass: there, activation checkpointing repeats a forward
    whose batch the module has recorded already.
    """
    return module.training and torch._C._current_graph_task_id() == -1


class UpdateCounter(nn.Module):
    """Counts the updates of a quantizer that has a schedule but learns no codebook from batches.

    Args:
        forwards_per_update: the number of training forwards between two updates (gradient accumulation).
    """

    updates: Tensor

    def __init__(self, forwards_per_update: int) -> None:
        super().__init__()
        self.forwards_per_update = forwards_per_update
        self.forwards = 0
        self.register_buffer("updates", torch.tensor(0))
        self.register_load_state_dict_pre_hook(forget_before_loading)

    @property
    def due(self) -> bool:
        """Whether an update should come before the next training forward."""
        return self.forwards >= self.forwards_per_update

    @not_compiled
    def count_forward(self, quantizer: Quantizer) -> None:
        """Count a training forward of a quantizer that learns from it; an update that is due comes first."""
        if learns(quantizer):
            if self.due:
                quantizer.update()
            self.forwards += 1

    def forget(self) -> None:
        """Forget the forwards since the last update."""
        self.forwards = 0

    def tick(self) -> bool:
        """Count an update if there was a forward since the last one; say whether there was."""
        ticked = self.forwards > 0
        self.updates += int(ticked)
        self.forwards = 0
        return ticked


def forget_before_loading(noting: Any, *_: Any) -> None:
    """Discard the records before a state is loaded: they do not belong to the loaded state."""
    noting.forget()
