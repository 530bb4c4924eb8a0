"""The names of what a run directory holds; nothing else in the program spells them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vqvae.errors import UserError


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one training, by its path.

    Every property but ``exists`` is a path, whether something is there or not. ``docs/file-formats.md`` says what
    each file holds.

    Attributes:
        path: the directory.
    """

    path: Path

    def __fspath__(self) -> str:
        """Return the path, so that a run may stand wherever a path may."""
        return str(self.path)

    @property
    def config(self) -> Path:
        """The run's settings. A directory is a run once it has this file."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, device and command that the run was made with."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """What the run was trained and validated on."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """The metrics, a JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def changes(self) -> Path:
        """The keys that were changed when the run was resumed, a JSON object a line."""
        return self.path / "changes.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / "tensorboard"

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
        """The averaged weights that measured best on the validation split."""
        return self.path / "best.safetensors"

    @property
    def tokenizer(self) -> Path:
        """In a prior's run, a copy of the file of the tokenizer whose codes the prior models."""
        return self.path / "tokenizer" / "model.safetensors"

    @property
    def init(self) -> Path:
        """In a run that started from a trained model, a copy of the model's file."""
        return self.path / "init" / "model.safetensors"

    @property
    def code_counts(self) -> Path:
        """In a prior's run, how often each code occurs at each position of the training codes."""
        return self.path / "code-counts.safetensors"

    @property
    def evaluation(self) -> Path:
        """What ``vqvae evaluate`` measured."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page of ``vqvae report``."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """The file that the owner of the directory keeps locked."""
        return self.path / ".lock"

    @property
    def exists(self) -> bool:
        """Whether the directory is a run."""
        return self.config.is_file()

    def check(self) -> Self:
        """Return the directory itself, which is a run.

        Raises:
            UserError: when nothing is there, a file is there, or the directory is not a run.
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
