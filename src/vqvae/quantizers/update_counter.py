"""Which forwards a quantizer learns from, and the count of updates that its schedules are functions of."""

import torch
from torch import Tensor, nn


def learns(module: nn.Module) -> bool:
    """Say whether a forward of this module is to be learned from.

    In training, yes, but not inside a backward pass: there, activation checkpointing runs a forward again whose
    batch has been noted before.
    """
    return module.training and torch._C._current_graph_task_id() == -1


class UpdateCounter(nn.Module):
    """Counts updates for quantizers that have a schedule but no codebook to keep up.

    Args:
        forwards_per_update: training forwards that one update spans (gradient accumulation).
    """

    updates: Tensor

    def __init__(self, forwards_per_update: int) -> None:
        super().__init__()
        self.forwards_per_update = forwards_per_update
        self.forwards = 0
        self.register_buffer("updates", torch.tensor(0))

    @property
    def due(self) -> bool:
        """Whether an update should come before the next training forward."""
        return self.forwards >= self.forwards_per_update

    def forget(self) -> None:
        """Forget the forwards since the last update."""
        self.forwards = 0

    def tick(self) -> bool:
        """Count an update, if there was a forward since the last; say whether there was."""
        ticked = self.forwards > 0
        self.updates += int(ticked)
        self.forwards = 0
        return ticked
