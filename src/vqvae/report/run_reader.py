"""The records of a run directory, read for a page about it."""

from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any, cast

from vqvae.config import read_yaml
from vqvae.files import read_json, read_records
from vqvae.run_directory import RunDirectory


@dataclass(frozen=True)
class RunRecords:
    """What a run directory holds; what is absent is empty."""

    directory: RunDirectory
    config_text: str
    config: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    evaluation: dict[str, Any]
    metrics: list[dict[str, Any]]

    @property
    def path(self) -> Path:
        """The directory's path."""
        return self.directory.path

    @property
    def stage(self) -> str:
        """The stage that it trained."""
        return str(self.config.get("stage", "run"))

    @property
    def counts(self) -> list[int]:
        """How often its evaluation chose each code."""
        return self.evaluation.get("counts") or []

    @property
    def results(self) -> dict[str, Any]:
        """What its evaluation measured."""
        found: dict[str, Any] = self.evaluation.get("results") or {}
        return {key: value for key, value in found.items() if key != "protocol"}

    @property
    def protocol(self) -> dict[str, Any]:
        """How that was measured."""
        return (self.evaluation.get("results") or {}).get("protocol") or {}

    @property
    def num_codes(self) -> int | None:
        """K, where it is known."""
        return len(self.counts) or _find(self.config, "num_codes")

    @property
    def uniform_bits(self) -> float | None:
        """What a code costs without a prior."""
        if self.results.get("bits_per_code_uniform") is not None:
            return self.results["bits_per_code_uniform"]
        return log2(self.num_codes) if self.num_codes else None


def read_run(path: Path) -> RunRecords:
    """Read a run directory.

    Raises:
        UserError: when it is not there, not a run, or damaged.
    """
    run = RunDirectory(path).check()
    config = read_yaml(run.config)
    text = run.config.read_text(encoding="utf-8")
    records = [_read_json(file) for file in (run.environment, run.data, run.evaluation)]
    return RunRecords(run, text, config, *records, metrics=read_records(run.metrics))


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _find(settings: dict[str, Any], name: str) -> Any:
    """Find a setting anywhere in the config: which section holds it depends on the model."""
    if name in settings:
        return settings[name]
    inner = [cast(dict[str, Any], value) for value in settings.values() if isinstance(value, dict)]
    return next((found for section in inner if (found := _find(section, name)) is not None), None)
