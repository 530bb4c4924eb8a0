"""``vqvae doctor``: find what is wrong with a run and say what to change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from vqvae.errors import UserError
from vqvae.metrics import HEADLINES, described
from vqvae.model_io import ModelFile, read_model
from vqvae.report.diagnosis import Case as Case
from vqvae.report.diagnosis import Finding as Finding
from vqvae.report.diagnosis import diagnose as diagnose
from vqvae.report.run_reader import RunRecords, read_run
from vqvae.run_directory import RunDirectory


@dataclass(frozen=True)
class Examination:
    """What ``vqvae doctor`` found in a run.

    Attributes:
        run: the path of the run.
        step: the last step that has a record.
        numbers: the last values of the metrics that summarise the run, by name.
        findings: what is wrong, the most serious fault first.
    """

    run: str
    step: int
    numbers: Mapping[str, float]
    findings: Sequence[Finding]

    def to_json(self) -> str:
        """Return one JSON object: run, step, healthy, numbers, findings."""
        findings = [vars(finding) for finding in self.findings]
        return json.dumps({**vars(self), "healthy": not findings, "findings": findings})

    def __str__(self) -> str:
        """Return the examination in words."""
        numbers = [f"{name} {value:.4g} {described(name).unit}".strip() for name, value in self.numbers.items()]
        state = "healthy" if not self.findings else f"{len(self.findings)} fault{'s' * (len(self.findings) > 1)}"
        head = f"{self.run}: {state} at step {self.step:,}"
        lines = [": ".join(filter(None, [head, ", ".join(numbers)]))]
        for finding in self.findings:
            options = " ".join(f"--{key} {value}" for key, value in finding.options.items())
            how = f"{finding.change}: {options}" if options else finding.change
            lines += [f"\n{finding.name}: {finding.says}", f"  {how.replace('RUN', self.run)}"]
        return "\n".join(lines)


def examine(path: str) -> Examination:
    """Read a run and diagnose it.

    Raises:
        UserError: when there is no run at the path, or the run has no records yet.
    """
    place = RunDirectory(Path(path)).check()
    model = read_model(place.model) if place.model.is_file() else None
    run = read_run(place.path, {} if model is None else {model.path: model.hash})
    config = run.checked_config()
    if not run.metrics:
        raise UserError(f"{path}: no records in its metrics.jsonl yet; training writes one every log_every steps")
    later = _later_records(run, model, max(record["step"] for record in run.metrics))
    case = Case([*run.metrics, *later], config, run.data)
    numbers = {name: value for name in HEADLINES[config.stage] if (value := case.last(name)) is not None}
    return Examination(path, case.step, numbers, diagnose(case))


def _later_records(run: RunRecords, model: ModelFile | None, step: int) -> list[dict[str, Any]]:
    """Return the contents of the model file and of the evaluation as records."""
    found: list[dict[str, Any]] = []
    if model is not None:
        values = {name: tensor for name, tensor in model.state.items() if tensor.is_floating_point()}
        bad = [name for name, tensor in values.items() if not bool(torch.isfinite(tensor).all())]
        found.append({"step": step, "split": "model", "not_finite": bad})
    if run.results:
        counted = run.protocol["count"] * prod(run.protocol["codes"])
        found.append({"step": step, "split": "evaluation", "counted": counted, **run.results})
    return found
