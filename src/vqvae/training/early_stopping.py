"""Early stopping: whether held-out measurements have stopped getting better."""

from collections.abc import Iterable, Mapping
from typing import Any

from vqvae.training.metrics import rounded


class EarlyStopping:
    """Counts evaluations since the best one; a function of the held-out records so far, so it needs no state.

    Args:
        evaluations: without a new best that end a training; 0 for never.
        criterion: the measure that judges; lower is better.
        records: of ``metrics.jsonl`` up to the present step.
    """

    def __init__(self, evaluations: int, criterion: str, records: Iterable[Mapping[str, Any]]) -> None:
        self.evaluations, self.criterion = evaluations, criterion
        self.values: dict[int, float] = {}
        for record in records:
            if record.get("split") == "validation" and criterion in record:
                self.note(record["step"], record)

    def note(self, step: int, measured: Mapping[str, Any]) -> None:
        """Take a held-out measurement after ``step`` steps."""
        self.values[step] = rounded(
            measured[self.criterion]
        )  # as the records hold it, so that a resumed run agrees

    @property
    def over(self) -> bool:
        """Whether so many evaluations have passed since the best one, the first of equals."""
        if not self.evaluations or not self.values:
            return False
        values = [self.values[step] for step in sorted(self.values)]
        return len(values) - 1 - values.index(min(values)) >= self.evaluations
