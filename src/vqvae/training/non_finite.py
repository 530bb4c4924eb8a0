"""What to do with a step whose loss, gradient or codebook statistic is NaN or infinite."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqvae.errors import UserError

GIVE_UP_AFTER = 20  # dropped steps in a row: the cause does not go away by itself


def all_finite(*values: Tensor) -> bool:
    """Return whether all scalars, on one device, are finite; this waits for the device once."""
    return bool(torch.stack([value.detach().float() for value in values]).isfinite().all())


@dataclass
class NonFiniteGuard:
    """Counts the steps that were dropped because a value was not finite.

    Attributes:
        how: the setting ``training.non_finite`` of the run.
        all: number of dropped steps.
        in_a_row: number of dropped steps since the last step that was not dropped.
    """

    how: Literal["stop", "skip", "back_off"]
    all: int = 0
    in_a_row: int = 0

    @property
    def back_off(self) -> float:
        """The factor of the learning rate: with ``back_off``, each dropped step halves it for good."""
        return 0.5**self.all if self.how == "back_off" else 1.0

    def drop(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Count a step as dropped.

        Args:
            step: number of the step, from 1.
            values: the scalars of the step by name; the message names the scalars that are not finite.

        Raises:
            UserError: with ``stop``, or at the twentieth dropped step in a row.
        """
        self.all += 1
        self.in_a_row += 1
        named = ", ".join(name for name, value in values.items() if not all_finite(value))
        if self.how == "stop":
            raise UserError(
                f"no longer finite at step {step}: {named}; the step changed nothing: train again with a lower "
                "--training.learning_rate, or with --training.non_finite skip"
            )
        if self.in_a_row == GIVE_UP_AFTER:
            raise UserError(
                f"no longer finite: {named}; {GIVE_UP_AFTER} steps in a row were dropped up to step {step}: "
                "train again with a lower --training.learning_rate"
            )
