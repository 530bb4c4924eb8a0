"""A run: the directory of one training."""

import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vqvae.config import Change, RunConfig, config_from, read_yaml, to_yaml
from vqvae.distributed import rank
from vqvae.errors import UserError, what_failed
from vqvae.files import make_first_free, read_records, remove_leftovers, write_atomically, write_json
from vqvae.interruption import Interrupted
from vqvae.ownership import owned
from vqvae.processors import processors
from vqvae.run_directory import RunDirectory
from vqvae.version import VERSION


class Run(RunDirectory):
    """A run directory. One process at a time owns it and writes to it."""

    @classmethod
    @contextmanager
    def claimed(cls, out: str | None, name: str) -> "Iterator[Run]":
        """Own a new run directory: ``out``, or the first free one of ``runs/NAME``, ``runs/NAME-2``, ...

        The directory is a run once it has ``config.yaml``. If the block ends before that, a directory that was
        made here is removed. If the owner dies before that, the directory is free.

        Raises:
            UserError: when ``out`` exists and is not free, is owned by another process, or cannot be made.
        """
        path, made = _make(out, name)
        with owned(path):
            _check_free(path)
            remove_leftovers(path)
            run = cls(path)
            try:
                yield run
            finally:
                if not run.exists:
                    _remove_empty(run, made=made)

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> "Iterator[tuple[Run, RunConfig]]":
        """Own an existing run, and remove the half-written files of a killed owner.

        Raises:
            UserError: when there is no run at the path, or another process owns it.
        """
        run = cls(Path(path)).check()
        with owned(run.path):
            if rank() == 0:
                remove_leftovers(run.path)
            yield run, run.read_config()

    def read_config(self) -> RunConfig:
        """Read the run's config.

        Raises:
            UserError: when the file is not the config of a run.
        """
        return config_from(read_yaml(self.config), str(self.config))

    @contextmanager
    def report_failures(self) -> Iterator[None]:
        """Report a failure or a signal that ends the block in one line, which says how to continue.

        Raises:
            UserError: for any OSError: a full disk, a directory without write permission, a broken device.
            Interrupted: for a signal.
        """
        try:
            yield
        except BrokenPipeError:
            raise  # nobody reads what is printed
        except OSError as error:
            raise UserError(f"{what_failed(error)}; mend it, then {self._how_to_go_on()}") from None
        except Interrupted as stop:
            raise Interrupted(stop.signum, f"{stop}; {self._how_to_go_on()}") from None

    def _repr_png_(self) -> bytes | None:
        """Return the newest reconstructions or samples; a notebook shows them for the run."""
        pictures = sorted(self.samples.glob("*.png"))
        return pictures[-1].read_bytes() if pictures else None

    def _how_to_go_on(self) -> str:
        return f"go on with: vqvae resume {self.path}" if self.exists else "start again; the run had not begun"

    def begin(self, config: RunConfig) -> None:
        """Make the owned directory a run: write its config."""
        self.checkpoints.mkdir(exist_ok=True)
        self.samples.mkdir(exist_ok=True)
        write_atomically(self.config, to_yaml(config).encode())

    @contextmanager
    def freed_after_error(self) -> "Iterator[None]":
        """Make the directory free again if the block raises UserError: the corrected command may use it."""
        try:
            yield
        except UserError:
            if rank() == 0:
                self.config.unlink(missing_ok=True)
            raise

    def change(self, config: RunConfig, step: int, changes: Sequence[Change]) -> None:
        """Replace the config from a step on, and record the changes in ``changes.jsonl``."""
        lines = self.changes.read_bytes() if self.changes.exists() else b""
        for change in changes:
            record = {"step": step, "key": change.key, "before": change.before, "after": change.after}
            lines += f"{json.dumps(record)}\n".encode()
        write_atomically(self.changes, lines)
        write_atomically(self.config, to_yaml(config).encode())

    def write_environment(self, **more: Any) -> None:
        """Record versions, machine and command of the run."""
        write_json(
            self.environment,
            {
                "vqvae": VERSION,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "processors": processors(),
                "threads": torch.get_num_threads(),
                "command": " ".join(["vqvae", *sys.argv[1:]]),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                **more,
            },
        )

    def measured_at(self, step: int) -> bool:
        """Return whether validation images were measured after ``step`` steps."""
        records = read_records(self.metrics)
        return any((record["step"], record.get("split")) == (step, "validation") for record in records)

    def keep_metrics_until(self, step: int) -> None:
        """Drop the metrics after a step: a run that resumes at the step writes them again."""
        kept = [json.dumps(record) for record in read_records(self.metrics) if record["step"] <= step]
        write_atomically(self.metrics, "".join(line + "\n" for line in kept).encode())


def _make(out: str | None, name: str) -> tuple[Path, bool]:
    """Return the run directory, and whether it was made by this call."""
    path = Path("runs") / name if out is None else Path(out)
    _check_utf8(path)
    try:
        if out is None:
            return make_first_free(path), True
        _check_free(path)
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        return path, made
    except OSError as error:
        raise UserError(f"{path}: cannot make the run directory: {error.strerror}") from None


def _check_utf8(path: Path) -> None:
    """Refuse a path that safetensors could not read checkpoints from."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UserError(f"{shown}: a run directory needs a path in UTF-8: choose another --out") from None


def _check_free(path: Path) -> None:
    run = RunDirectory(path)
    if path.is_dir() and not run.exists:
        # a lock but no config: the owner died before the run began
        if run.lock.exists() or not any(path.iterdir()):
            return
    if path.exists():
        how = f"continue it with 'vqvae resume {path}' or " if run.exists else ""
        raise UserError(f"{path} exists and is not overwritten: {how}choose another --out")


def _remove_empty(run: RunDirectory, *, made: bool) -> None:
    with suppress(OSError):
        if list(run.path.iterdir()) == [run.lock]:  # otherwise the lock stays and marks the directory as free
            run.lock.unlink()
            if made:
                run.path.rmdir()
