"""A stage: what the loop trains, as named groups of parameters with a loss each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from vqvae.training.run import Run

MODEL = "model"  # the group of the tokenizer or prior that the run trains
Metrics = dict[str, Tensor]


class Trainable(NamedTuple):
    """A module whose parameters have a loss and an optimizer of their own.

    Attributes:
        module: the module; it has ``sharding_units()`` if its weights may be sharded over ranks.
        learning_rate: the learning rate, as a multiple of ``training.learning_rate``.
        betas: the betas of AdamW.
        frozen: parts of the module that stay in eval mode. Their parameters have ``requires_grad`` False.
    """

    module: nn.Module
    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    frozen: tuple[nn.Module, ...] = ()


class StepLosses(NamedTuple):
    """The losses and metrics of a batch.

    Attributes:
        by_group: the scalar that each group minimises. A group without a loss at this step does not change.
        metrics: the metrics of the batch, scalars.
    """

    by_group: Mapping[str, Tensor]
    metrics: Metrics


class Stage(Protocol):
    """A tokenizer or a prior in training.

    Attributes:
        groups: the modules that have a loss of their own, by name; ``model`` is the first.
        criterion: the metric of ``evaluate`` that selects the best model; lower is better.
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
        """Return the losses and metrics of a batch. They are means over its rows, and finite if it has no rows.

        Args:
            step: the step, from 0; it alone decides which groups have a loss.
            rows: int64 [B].
            epochs: the epochs of the rows, int64 [B].
        """
        ...

    def statistic(self) -> Tensor:
        """Return a scalar that is finite if all values are finite that ``after_step`` reads and changes."""
        ...

    def drop_step(self) -> None:
        """Discard the statistics that the step's forward passes collected for ``after_step``."""
        ...

    def after_step(self, step: int) -> Metrics:
        """Do the work after an optimizer step, such as the update of the codebook; return its metrics."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Measure the model on validation rows."""
        ...

    def draw(self, run: Run, step: int) -> Path | None:
        """Save reconstructions or samples as a picture; return its file. None if nothing can be drawn."""
        ...

    def histograms(self) -> dict[str, Tensor]:
        """Return values of validation images whose histograms trackers show, each [N], by name."""
        ...

    def save(self, path: Path, step: int, *, validation: float | None = None) -> None:
        """Write the model to a file, with the value of the criterion if it was measured."""
        ...
