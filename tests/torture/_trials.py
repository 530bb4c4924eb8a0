"""Trials: real processes of the real command, forked from one parent that has imported torch.

Starting Python and importing torch takes seconds, a small training less than one. So the parent imports all that
a command needs, starts no thread, and forks a process a trial: it has its own pid, files and memory, runs
``vqvae.cli.main``, and a SIGKILL, a SIGTERM or a failing write hits it as it would a process from a shell.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

import vqvae.commands.evaluate
import vqvae.training  # noqa: F401
from vqvae.cli import main
from vqvae.errors import FormatError
from vqvae.files import read_records
from vqvae.tensorfile import load_tensors

assert torch.get_num_threads() == 1, "run it as python -m tests.torture"

torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # torch imports its compiler here: seconds, once

STEPS = 8
_TRAINING = (
    "training: {steps: 8, batch_size: 8, warmup: 2, log_every: 1, evaluate_every: 4, checkpoint_every: 2,"
    " compile: false, precision: fp32, learning_rate: 3.0e-3}\n"
)
TOKENIZER = (
    "data: {spec: shapes, limit: 32, size: 16, fit: crop, flip: true}\n"
    "model: {width: 16, outer_width: 8, residual_width: 8, residual_blocks: 1,"
    " quantizer: {kind: ema, num_codes: 16, dim: 4, revive_every: 3}}\n"
    # a loss with a network and an optimizer of its own
    "losses: [{kind: adversarial, width: 4, layers: 1, start: 3, lecam: 0.01}]\n" + _TRAINING
)
PRIOR = "classes: true\nmodel: {width: 8, layers: 2, head_width: 16, dropout: 0.2}\n" + _TRAINING


class Trial:
    """One run of the command in a process of its own.

    Args:
        argv: of ``vqvae``.
        log: the file that its output goes to.
        before: what the process does first.
        gate: a pipe that it then waits at for a byte.
        after: what it does last.
    """

    def __init__(
        self,
        argv: list[str],
        log: Path,
        *,
        before: Callable[[], Any] = lambda: None,
        gate: int | None = None,
        after: Callable[[], Any] = lambda: None,
    ) -> None:
        self.log = log
        ready, begun = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:

            def begin() -> None:
                before()
                os.write(begun, b".")
                if gate is not None:
                    os.read(gate, 1)

            _become(argv, log, begin, after)
        os.close(begun)
        os.read(ready, 1)
        os.close(ready)
        self.started = time.monotonic()
        self.code: int | None = None

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def ended(self) -> int | None:
        """Return its exit code if it has ended, negative where a signal killed it."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def lives_for(self, seconds: float) -> bool:
        """Wait until it is so old; say whether it still runs."""
        while self.ended() is None and time.monotonic() < self.started + seconds:
            time.sleep(0.001)
        return self.code is None

    @property
    def output(self) -> str:
        return self.log.read_text()

    def complaint(self) -> str:
        """Return the one line that it ended with."""
        lines = [line for line in self.output.splitlines() if line.startswith("vqvae: ")]
        assert len(lines) == 1 and "Traceback" not in self.output, self.output
        return lines[0]


def _become(argv: list[str], log: Path, begin: Callable[[], Any], after: Callable[[], Any]) -> None:
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup would have ignored
        begin()
        sys.argv = ["vqvae", *argv]
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        after()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Moments:
    """Random moments in the life of a trial; how far they reach follows the speed of the machine."""

    def __init__(self, seed: int, longest: float) -> None:
        self.draw, self.longest = random.Random(seed), longest

    def strike(self, trial: Trial) -> bool:
        """Wait for a moment; say whether the trial still runs then, as about two of three do."""
        alive = trial.lives_for(self.draw.uniform(0, self.longest))
        self.longest *= 1.1 if alive else 0.8
        return alive


class TwoStages:
    """A small tokenizer's run and a prior's over it, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.longest = 0.0
        self.runs = [folder / "tokenizer", folder / "prior"]
        os.environ["VQVAE_CACHE"] = str(folder / "cache")
        for name, recipe in (("t.yaml", TOKENIZER), ("p.yaml", PRIOR)):
            (folder / name).write_text(recipe)

    def argv(self, stage: int, *more: str) -> list[str]:
        """Return what a person would type now: resume the stage where it is a run, else train it."""
        run = self.runs[stage]
        if (run / "config.yaml").exists():
            return ["resume", str(run)]
        what = ["prior", str(self.runs[0]), "p.yaml"] if stage else ["train", "t.yaml"]
        return [*what[:-1], str(self.folder / what[-1]), "--out", str(run), *more]

    def start(self, stage: int, *more: str, **how: Any) -> Trial:
        return Trial(self.argv(stage, *more), Path(f"{self.folder}.log"), **how)

    def finish(self) -> "TwoStages":
        """Run both stages to their ends, noting how long the longer one took."""
        for stage in (0, 1):
            trial = self.start(stage)
            assert trial.wait() == 0, trial.output
            self.longest = max(self.longest, time.monotonic() - trial.started)
        return self

    def outcome(self, *stages: int) -> list[Any]:
        """Return what must not depend on interruptions: all bytes of model, best and last checkpoint; metrics."""
        found: list[Any] = []
        for run in [self.runs[stage] for stage in stages or (0, 1)]:
            names = ("model", "best", f"checkpoints/step-{STEPS:08d}")
            found += [(run / f"{name}.safetensors").read_bytes() for name in names]
            records = read_records(run / "metrics.jsonl")
            found.append([{**record, "images_per_second": 0} for record in records])
        return found

    def check_files(self) -> int:
        """Read every file of tensors: each whole, of its kind, and finite. Return how many there are."""
        files = list(self.folder.rglob("*.safetensors"))
        for path in files:
            try:
                with safe_open(path, framework="pt") as content:
                    header = json.loads(content.metadata()["vqvae"])
                _, tensors = load_tensors(path, header["kind"], header["version"])
            except (SafetensorError, FormatError) as error:
                raise AssertionError(f"{path}: {error}") from None
            assert all(bool(tensor.isfinite().all()) for tensor in tensors.values()), f"{path}: not finite"
        for path in [*self.folder.rglob("config.yaml"), *self.folder.rglob("*.json")]:
            assert path.read_text().strip(), path
            if path.suffix == ".json":
                json.loads(path.read_text())
        return len(files)

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.suffix in (".tmp", ".damaged")]


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for the trials, and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


KILL, STOP, GO_ON = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
