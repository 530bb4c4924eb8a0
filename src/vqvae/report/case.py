"""The input and the output of the diagnosis of a run: its records, and its faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from vqvae.config import RunConfig
from vqvae.report.curves import series

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """A fault of a run.

    Attributes:
        name: the name of the fault, such as ``collapse``.
        says: what is wrong, with the numbers that show it.
        change: what to do about it.
        options: new values by key, for a new training with otherwise the same config.
    """

    name: str
    says: str
    change: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Case:
    """What is known of a run.

    Attributes:
        records: the records of ``metrics.jsonl``, each with ``step`` and ``split``. A record of the split
            ``evaluation`` has the results of ``vqvae evaluate``. A record of the split ``model`` has, as
            ``not_finite``, the names of weights that are not finite.
        config: the config of the run.
        data: the contents of ``data.json``; {} if it is absent.
    """

    records: Sequence[Record]
    config: RunConfig
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def curve(self, split: str, name: str) -> tuple[list[float], list[float]]:
        """Return the steps and finite values of a metric."""
        return series(self.records, split, name)

    def last(self, name: str) -> float | None:
        """Return a metric's last value on validation images; without one, the value of ``vqvae evaluate``."""
        values = self.curve("validation", name)[1] or self.curve("evaluation", name)[1]
        return values[-1] if values else None

    def quarters(self, name: str) -> list[float]:
        """Return the median of each quarter of a metric's values in training; [] for fewer than eight values."""
        values = self.curve("train", name)[1]
        bounds = [len(values) * i // 4 for i in range(5)]
        return [median(values[a:b]) for a, b in pairwise(bounds)] if len(values) > 7 else []

    @property
    def step(self) -> int:
        """The last step that has a record."""
        return max((record["step"] for record in self.records), default=0)

    def slower(self, times: float) -> dict[str, str]:
        """Return the option that multiplies the learning rate by ``times``."""
        return {"training.learning_rate": f"{self.config.training.learning_rate * times:.3g}"}
