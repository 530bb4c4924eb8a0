"""Early stopping: end a training when the measurements on validation images no longer improve."""

from collections.abc import Iterable, Mapping
from typing import Any

from vqvae.training.metrics import rounded


class EarlyStopping:
    """Counts the measurements since the best one.

    The count is a function of the validation records so far, so it is not part of a run's state.

    Args:
        evaluations: number of measurements without a new best that end the training; 0 never ends it.
        criterion: the metric that is compared; lower is better.
        records: the records of ``metrics.jsonl`` up to the current step.
    """

    def __init__(self, evaluations: int, criterion: str, records: Iterable[Mapping[str, Any]]) -> None:
        self.evaluations, self.criterion = evaluations, criterion
        self.values: dict[int, float] = {}
        for record in records:
            if record.get("split") == "validation" and criterion in record:
                self.note(record["step"], record)

    def note(self, step: int, measured: Mapping[str, Any]) -> None:
        """Take the measurement on validation images after ``step`` steps."""
        # rounded like the records, so that a resumed run decides the same
        self.values[step] = rounded(measured[self.criterion])

    @property
    def over(self) -> bool:
        """Whether ``evaluations`` measurements have followed the best one, the first of equal ones."""
        if not self.evaluations or not self.values:
            return False
        values = [self.values[step] for step in sorted(self.values)]
        return len(values) - 1 - values.index(min(values)) >= self.evaluations
