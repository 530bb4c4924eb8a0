"""Sinks of metrics: JSON lines, a progress bar or plain lines. Trackers are sinks too (``trackers.py``)."""

import json
import os
from pathlib import Path
from typing import Any, Protocol

from vqvae.distributed import rank
from vqvae.metrics import METRICS
from vqvae.progress import make_bar, someone_watches
from vqvae.screen import say, stderr


def rounded(value: float) -> float:
    """Round a value to seven significant digits, as in the records."""
    return float(f"{value:.7g}")


class Sink(Protocol):
    """Takes a record of metrics."""

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Take the metrics of a split, ``train`` or ``validation``, after ``step`` steps."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class JsonLines:
    """Writes one JSON object per line; every line is flushed."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "a", buffering=1)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Append a line."""
        kept = {name: rounded(value) for name, value in values.items()}
        self.file.write(json.dumps({"step": step, "split": split, **kept}) + "\n")

    def sync(self) -> None:
        """Flush the lines to the disk, so that the metrics up to a checkpoint survive a power cut."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Progress:
    """A bar on a terminal or in a notebook; plain lines elsewhere."""

    def __init__(self, start: int, steps: int) -> None:
        self.steps = steps
        self.bar: Any = None
        if someone_watches() and rank() == 0:
            self.bar = make_bar(total=steps, initial=start, unit="step")

    def advance(self) -> None:
        """Count one step."""
        if self.bar is not None:
            self.bar.update()

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Show the metrics whose rows in the table of metrics have ``in_log``."""
        names = [metric.name for metric in METRICS.values() if metric.in_log and metric.name in values]
        shown = "  ".join(f"{name} {values[name]:.4g}" for name in names)
        if self.bar is None:
            say(f"step {step}/{self.steps}  {split}  {shown}")
        elif split == "train":
            self.bar.set_postfix_str(shown, refresh=False)
        else:
            self.bar.write(f"step {step}  {split}  {shown}", file=stderr())

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()
