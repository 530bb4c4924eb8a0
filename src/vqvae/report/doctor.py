"""``vqvae doctor``: reads a run and says in words what is wrong with it, and what to change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from vqvae.config import config_from, read_yaml
from vqvae.errors import UserError
from vqvae.files import read_json, read_records
from vqvae.model_io import read_model
from vqvae.report.diagnosis import Case as Case
from vqvae.report.diagnosis import Finding as Finding
from vqvae.report.diagnosis import diagnose as diagnose
from vqvae.run_directory import RunDirectory

_NUMBERS = {
    "tokenizer": ("nmse", "psnr", "perplexity", "usage", "quantization_error"),
    "prior": ("bits_per_code", "train_bits_per_code", "unigram_bits_per_code"),
}


@dataclass(frozen=True)
class Examination:
    """What ``vqvae doctor`` found in a run.

    Attributes:
        run: its path.
        step: of its last record.
        numbers: its last held-out measurements.
        findings: what is wrong.
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
        """Return it in words."""
        known = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        head = f"{self.run}: {'healthy' if not self.findings else 'not well'} at step {self.step:,}"
        lines = [f"{head}: {known}" if known else head]
        for finding in self.findings:
            options = " ".join(f"--{key} {value}" for key, value in finding.options.items())
            how = f"{finding.change}: {options}" if options else finding.change
            lines += [f"\n{finding.name}: {finding.says}", f"  {how.replace('RUN', self.run)}"]
        return "\n".join(lines)


def examine(path: str) -> Examination:
    """Read a run and diagnose it.

    Raises:
        UserError: when there is no run at the path, or it has no records yet.
    """
    run = RunDirectory(Path(path)).check()
    config = config_from(read_yaml(run.config), str(run.config))
    records = read_records(run.metrics)
    if not records:
        raise UserError(f"{path}: no records in its metrics.jsonl yet; training writes one every log_every steps")
    case = Case([*records, *_later_records(run, max(record["step"] for record in records))], config)
    numbers = {name: value for name in _NUMBERS[config.stage] if (value := case.last(name)) is not None}
    return Examination(path, case.step, numbers, diagnose(case.records, config))


def _later_records(run: RunDirectory, step: int) -> list[dict[str, Any]]:
    """Return what the model file and ``vqvae evaluate`` say, as records."""
    found: list[dict[str, Any]] = []
    if run.model.is_file():
        bad = [
            name
            for name, t in read_model(run.model).state.items()
            if t.is_floating_point() and not bool(torch.isfinite(t).all())
        ]
        found.append({"step": step, "split": "model", "not_finite": bad})
    if run.evaluation.is_file():
        measured: dict[str, Any] = read_json(run.evaluation)["results"]
        counted = measured["protocol"]["count"] * prod(measured["protocol"]["codes"])
        found.append({"step": step, "split": "evaluation", "counted": counted, **measured})
    return found
