"""The names of the files in a run directory; no other module spells them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vqvae.errors import UserError


@dataclass(frozen=True)
class RunDirectory:
    """The paths in the directory of one training.

    Every property except ``exists`` is a path, which need not exist. ``docs/file-formats.md`` describes the files.

    Attributes:
        path: the directory.
    """

    path: Path

    def __fspath__(self) -> str:
        """Return the path, so that a run can be passed as a path."""
        return str(self.path)

    @property
    def config(self) -> Path:
        """The run's settings. A directory is a run once it has this file."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, device and command of the training."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """The description of the training and validation images."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def changes(self) -> Path:
        """The keys that were changed when the run was resumed, one JSON object per line."""
        return self.path / "changes.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def trackers(self) -> Path:
        """The identifiers of the run in trackers."""
        return self.path / "trackers.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of reconstructions or samples."""
        return self.path / "samples"

    @property
    def model(self) -> Path:
        """The averaged weights at the last checkpoint."""
        return self.path / "model.safetensors"

    @property
    def best(self) -> Path:
        """The averaged weights with the best measurement on the validation split."""
        return self.path / "best.safetensors"

    @property
    def tokenizer(self) -> Path:
        """In a prior's run, a copy of the tokenizer's file."""
        return self.path / "tokenizer" / "model.safetensors"

    @property
    def init(self) -> Path:
        """In a run that started from a trained model, a copy of the model's file."""
        return self.path / "init" / "model.safetensors"

    @property
    def published(self) -> Path:
        """In the folder of a published model, the description of the model and of how its images were read."""
        return self.path / "config.json"

    @property
    def card(self) -> Path:
        """In the folder of a published model, the model card."""
        return self.path / "README.md"

    @property
    def code_counts(self) -> Path:
        """In a prior's run, how often each code occurs at each position of the training codes."""
        return self.path / "code-counts.safetensors"

    @property
    def evaluation(self) -> Path:
        """The results of ``vqvae evaluate``."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page of ``vqvae report``."""
        return self.path / "report.html"

    @property
    def page(self) -> Path:
        """The page of ``vqvae page``."""
        return self.path / "page.html"

    @property
    def lock(self) -> Path:
        """The file that the owner of the directory keeps locked."""
        return self.path / ".lock"

    @property
    def exists(self) -> bool:
        """Whether the directory is a run."""
        return self.config.is_file()

    def check(self) -> Self:
        """Return the directory itself, if it is a run.

        Raises:
            UserError: when it does not exist, is a file, or is not a run.
        """
        if self.exists:
            return self
        if not self.path.exists():
            raise UserError(f"{self.path}: no such run directory")
        parents = (RunDirectory(folder) for folder in self.path.absolute().parents)
        around = next((run.path for run in parents if run.exists), None)
        if not self.path.is_dir():
            raise UserError(f"{self.path}: a file, not a run directory; give {around or 'the folder it is in'}")
        raise UserError(f"{self.path}: not a run: it has no config.yaml" + (f"; give {around}" if around else ""))
