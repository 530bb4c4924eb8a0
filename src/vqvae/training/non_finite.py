"""Steps whose loss, gradient or statistic is not finite: what happens to them, and how many there were."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.errors import UserError

GIVE_UP_AFTER = 20  # dropped steps in a row: whatever is wrong, it does not pass


def all_finite(*values: Tensor) -> bool:
    """Say whether scalars of one device are all finite, with one wait for the device."""
    return bool(torch.stack([value.detach().float() for value in values]).isfinite().all())


@dataclass
class NonFiniteGuard:
    """What ``training.non_finite`` says, and the count of steps dropped: all, and those just now in a row."""

    how: Literal["stop", "skip", "back_off"]
    all: int = 0
    in_a_row: int = 0

    @property
    def back_off(self) -> float:
        """The factor on the learning rate: halved for the rest of the run at each step dropped."""
        return 0.5**self.all if self.how == "back_off" else 1.0

    def drop(self, step: int, values: dict[str, Tensor]) -> None:
        """Count the step ``step`` (from 1) as dropped.

        Raises:
            UserError: when a run is to stop at the first, or too many come in a row.
        """
        self.all += 1
        self.in_a_row += 1
        named = " and ".join(name for name, value in values.items() if not all_finite(value))
        if self.how == "stop":
            raise UserError(
                f"the {named} is no longer finite at step {step}; nothing of it was kept: train again with "
                "a lower --training.learning_rate, or with --training.non_finite skip"
            )
        if self.in_a_row == GIVE_UP_AFTER:
            raise UserError(
                f"the {named} is no longer finite: {GIVE_UP_AFTER} steps in a row were dropped up to step {step}; "
                "train again with a lower --training.learning_rate"
            )
