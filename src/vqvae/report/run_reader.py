"""Read the records of a run directory, for the report and for the doctor."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any, cast

from vqvae.config import RunConfig, config_from, read_yaml
from vqvae.evaluation import read_evaluation
from vqvae.files import read_json, read_records
from vqvae.run_directory import RunDirectory


@dataclass(frozen=True)
class RunRecords:
    """The records of a run directory. A record without a file is empty.

    Attributes:
        directory: the run directory.
        config_text: the text of ``config.yaml``.
        config: the values in ``config.yaml``, unchecked.
        environment: the contents of ``environment.json``.
        data: the contents of ``data.json``.
        evaluation: the contents of ``evaluation.json``; empty if it is of other weights.
        metrics: the records of ``metrics.jsonl``, each with ``step`` and ``split``.
    """

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
        """The stage that the run trained."""
        return str(self.config.get("stage", "run"))

    @property
    def counts(self) -> list[int]:
        """How often each code was chosen in the evaluation."""
        return self.evaluation.get("counts") or []

    @property
    def results(self) -> dict[str, Any]:
        """The values that the evaluation measured, by metric."""
        found: dict[str, Any] = self.evaluation.get("results") or {}
        return {key: value for key, value in found.items() if key != "protocol"}

    @property
    def protocol(self) -> dict[str, Any]:
        """What the evaluation measured, and how."""
        return (self.evaluation.get("results") or {}).get("protocol") or {}

    @property
    def num_codes(self) -> int | None:
        """The number of codes K, or None if it is unknown."""
        return len(self.counts) or _find(self.config, "num_codes")

    @property
    def uniform_bits(self) -> float | None:
        """The bits of a code under the uniform prior, log2 K, or None if K is unknown."""
        if self.results.get("bits_per_code_uniform") is not None:
            return self.results["bits_per_code_uniform"]
        return log2(self.num_codes) if self.num_codes else None

    def checked_config(self) -> RunConfig:
        """Return the config.

        Raises:
            UserError: when ``config.yaml`` is not the config of a run.
        """
        return config_from(self.config, str(self.directory.config))


def read_run(path: Path, hashes: Mapping[Path, str] | None = None) -> RunRecords:
    """Read the records of a run directory.

    Args:
        path: the run directory.
        hashes: of model files that were read already, as ``read_evaluation`` takes them.

    Raises:
        UserError: when the directory does not exist or is not a run, or a record is damaged.
    """
    run = RunDirectory(path).check()
    config = read_yaml(run.config)
    text = run.config.read_text(encoding="utf-8")
    environment, data = _read_json(run.environment), _read_json(run.data)
    evaluation, metrics = read_evaluation(run, hashes), read_records(run.metrics)
    return RunRecords(run, text, config, environment, data, evaluation, metrics)


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _find(settings: dict[str, Any], name: str) -> Any:
    """Find a setting in any section of the config; which section has it depends on the model."""
    if name in settings:
        return settings[name]
    inner = [cast(dict[str, Any], value) for value in settings.values() if isinstance(value, dict)]
    return next((found for section in inner if (found := _find(section, name)) is not None), None)
