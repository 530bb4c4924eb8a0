"""A run: the directory that holds one training."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vqvae.config import RunConfig, config_from, to_yaml
from vqvae.config_yaml import read_yaml
from vqvae.errors import UserError
from vqvae.files import first_free, read_records, write_atomically, write_json
from vqvae.hub import MODEL_FILE


class Run:
    """The names of what a run directory holds.

    ``config.yaml``, ``environment.json``, ``data.json``, ``metrics.jsonl``, ``checkpoints/``, ``samples/``,
    ``model.safetensors`` (the averaged weights at the last checkpoint), ``evaluation.json``, ``report.html``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.data = path / "data.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.model = path / MODEL_FILE
        self.evaluation = path / "evaluation.json"

    @classmethod
    def create(cls, out: str | None, name: str, config: RunConfig) -> "Run":
        """Make a new run directory: ``out``, or the first free one of ``runs/name``, ``runs/name-2``, ...

        Raises:
            UserError: when ``out`` exists and is not an empty directory, or cannot be made.
        """
        path = Path(out) if out else first_free(Path("runs") / name)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            how = f"continue it with 'vqvae resume {path}' or " if (path / "config.yaml").exists() else ""
            raise UserError(f"{path} exists and is not overwritten: {how}choose another --out")
        run = cls(path)
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            run.samples.mkdir(exist_ok=True)
            write_atomically(run.config, to_yaml(config).encode())
        except OSError as error:
            raise UserError(f"{path}: cannot make the run directory: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: str) -> tuple["Run", RunConfig]:
        """Open an existing run and read its config.

        Raises:
            UserError: when there is none at the path.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise UserError(f"{path}: no such run directory")
        if not run.config.is_file():
            raise UserError(f"{path}: not a run directory: it has no config.yaml")
        return run, config_from(read_yaml(run.config), str(run.config))

    def write_environment(self, **more: Any) -> None:
        """Record what the run was made with."""
        from vqvae import __version__

        write_json(
            self.environment,
            {
                "vqvae": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "command": " ".join(["vqvae", *sys.argv[1:]]),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                **more,
            },
        )

    def keep_metrics_until(self, step: int) -> None:
        """Drop the metrics after a step: a run that resumes at it writes them again."""
        kept = [json.dumps(record) for record in read_records(self.metrics) if record["step"] <= step]
        write_atomically(self.metrics, "".join(line + "\n" for line in kept).encode())
