"""Early stopping: whether held-out measurements have stopped getting better."""

from collections.abc import Iterable, Mapping
from typing import Any

from vqvae.training.metrics import rounded

JUDGES = ("bits_per_code", "nmse")  # of a prior, of a tokenizer; lower is better


class Patience:
    """Counts evaluations since the best one; a function of the held-out records so far, so it needs no state.

    Args:
        evaluations: without a new best that end a training; 0 for never.
        records: of ``metrics.jsonl`` up to the present step.

    Attributes:
        steps: at which there was a measurement.
    """

    def __init__(self, evaluations: int, records: Iterable[Mapping[str, Any]]) -> None:
        self.evaluations = evaluations
        self.steps: set[int] = set()
        self.values: dict[int, float] = {}
        for record in records:
            if record.get("split") == "heldout":
                self.note(record["step"], record)

    def note(self, step: int, measured: Mapping[str, Any]) -> None:
        """Take a held-out measurement after ``step`` steps."""
        self.steps.add(step)
        judge = next((name for name in JUDGES if name in measured), None)
        if judge is not None:
            self.values[step] = rounded(measured[judge])  # as the records hold it, so that a resumed run agrees

    @property
    def over(self) -> bool:
        """Whether so many evaluations have passed since the best one, the first of equals."""
        if not self.evaluations or not self.values:
            return False
        values = [self.values[step] for step in sorted(self.values)]
        return len(values) - 1 - values.index(min(values)) >= self.evaluations
