"""How a metric is accumulated: batch by batch, as sums over images or codes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from vqvae.metrics.batch import Batch, Models


class Accumulator(ABC):
    """Adds up what one metric, or several metrics that share their sums, need of a split.

    The sums run over images or codes, never over batches, so that no value depends on the batch size.

    Args:
        models: the models that are measured.

    Attributes:
        reads_likelihood: whether it reads -log p(x | z_q), which some likelihoods know in a saved model alone.
    """

    reads_likelihood: ClassVar[bool] = False

    def __init__(self, models: Models) -> None:
        self.models = models

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Take one batch."""

    @abstractmethod
    def result(self) -> Mapping[str, float | None]:
        """Return the values by their metrics' names; None for a value that these models do not have."""

    def protocol(self) -> Mapping[str, Any]:
        """Return, by their metrics' names, definitions that the protocol of an evaluation should record."""
        return {}


class ImageMean(Accumulator):
    """The mean over images of one value for each image.

    Attributes:
        name: the metric's name.
    """

    name: ClassVar[str]

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.sum, self.images = 0.0, 0

    @abstractmethod
    def values(self, batch: Batch) -> Tensor:
        """Return the value of each image, float [B]."""

    def add(self, batch: Batch) -> None:
        """Take one batch."""
        self.sum += float(self.values(batch).double().sum())
        self.images += len(batch)

    def result(self) -> Mapping[str, float | None]:
        """Return the mean."""
        return {self.name: self.sum / self.images if self.images else None}
