"""The file ``evaluation.json`` of a run: the figures of ``vqvae evaluate``, and hashes of the measured models."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqvae.files import read_json
from vqvae.run_directory import RunDirectory
from vqvae.screen import say


def read_evaluation(run: RunDirectory, hashes: Mapping[Path, str] | None = None) -> dict[str, Any]:
    """Return the contents of a run's ``evaluation.json``; empty if the file is absent or measured other weights.

    A run that was trained further after the measurement has other weights: one line says that the figures are
    left out.

    Args:
        run: the run.
        hashes: SHA-256 of model files that were read already, in hexadecimal; the other files are read.

    Raises:
        UserError: when the file is damaged.
    """
    if not run.evaluation.is_file():
        return {}
    found = read_json(run.evaluation)
    results = found.get("results")
    protocol = results.get("protocol") if isinstance(results, dict) else None
    models = protocol.get("models") if isinstance(protocol, dict) else None
    if models and models != _models_of(run, hashes or {}):
        again = f"measure again: vqvae evaluate {run.path} --data SPEC"
        say(f"{run.evaluation}: left out, since the run's models changed after it was written; {again}")
        return {}
    return found


def _models_of(run: RunDirectory, hashes: Mapping[Path, str]) -> dict[str, str]:
    """Return the SHA-256 of a run's model files, by stage; a prior's run holds a copy of its tokenizer."""
    has_prior = run.tokenizer.is_file()
    files = {"tokenizer": run.tokenizer, "prior": run.model} if has_prior else {"tokenizer": run.model}
    return {
        stage: hashes.get(file) or hashlib.sha256(file.read_bytes()).hexdigest()
        for stage, file in files.items()
        if file.is_file()
    }
