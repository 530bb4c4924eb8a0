"""What the loop trains: a tokenizer or a prior, as named groups of parameters with a loss each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from vqvae.training.run import Run

MODEL = "model"  # the group whose module is what the run makes
Metrics = dict[str, Tensor]


class Trainable(NamedTuple):
    """A module whose parameters have a loss and an optimizer of their own.

    Attributes:
        module: with ``sharding_units()`` where its weights may be sharded over ranks.
        learning_rate: as a multiple of ``training.learning_rate``.
        betas: of AdamW.
        frozen: parts of the module that stay in eval mode. Their parameters have ``requires_grad`` False.
    """

    module: nn.Module
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    frozen: tuple[nn.Module, ...] = ()


class StepLosses(NamedTuple):
    """What the rows of a batch give.

    Attributes:
        by_group: the scalar that each group minimises. A group without a loss at a step stays as it is.
        metrics: of the batch, scalars.
    """

    by_group: Mapping[str, Tensor]
    metrics: Metrics


class Stage(Protocol):
    """What is trained.

    Attributes:
        groups: what has a loss of its own, by name; ``model`` is the first.
        criterion: the metric of ``evaluate`` that is lowest for the best model.
    """

    groups: dict[str, Trainable]
    criterion: str

    def train_on(self, modules: Mapping[str, nn.Module]) -> None:
        """Run these copies of the groups' modules in ``losses``; the modules themselves no longer hold weights."""
        ...

    def rows_at_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a step's batch, over all ranks, and their epochs, both int64 [B]."""
        ...

    def losses(self, step: int, rows: Tensor, epochs: Tensor) -> StepLosses:
        """Return the losses and the metrics of a batch, all means over its rows, finite where there are no rows.

        Args:
            step: from 0; which groups have a loss depends on nothing else.
            rows: int64 [B].
            epochs: of the rows, int64 [B].
        """
        ...

    def statistic(self) -> Tensor:
        """Return a scalar that is finite if everything is finite that ``after_step`` learns from and changes."""
        ...

    def drop_step(self) -> None:
        """Forget what the step's forward passes noted for ``after_step``."""
        ...

    def after_step(self, step: int) -> Metrics:
        """Do what follows an optimizer step, such as the codebook's update."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Measure the model on validation rows."""
        ...

    def draw(self, run: Run, step: int) -> None:
        """Save pictures of what the model does."""
        ...

    def save(self, path: Path, step: int, *, validation: float | None = None) -> None:
        """Write the model to a file, with the criterion's value where it was measured."""
        ...
