"""ENOSPC and EIO at each write of a two-stage run: exit 2 and one line, all that was saved intact, resume exact.

A write of the cache of codes is the exception: one line says that it failed, and the prior trains without it.

The errors come from below Python: ``_faults.c``, compiled with cc and preloaded before libc, makes the n-th of the
calls that write (open, write, fsync, rename, mkdir, ...) fail. Without a C compiler the check says so.
"""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COUNT = 200  # writes, each failing in two ways


def check(count: int, seed: int) -> str:
    if "_faults" in os.environ.get("LD_PRELOAD", ""):
        return _check(count)
    compiler = shutil.which("cc")
    if compiler is None:
        return "not run: it needs a C compiler, cc"
    with tempfile.TemporaryDirectory() as folder:
        shim = f"{folder}/_faults.so"
        source = str(Path(__file__).with_name("_faults.c"))
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", source, "-o", shim, "-ldl"], check=True)
        command = [sys.executable, "-m", "tests.torture", "writes", "--count", str(count)]
        done = subprocess.run(command, env={**os.environ, "LD_PRELOAD": shim}, capture_output=True, text=True)
    line = done.stdout.removeprefix("writes: ").rsplit(" (", 1)[0]
    assert done.returncode == 0, line.removeprefix("FAILED: ") + done.stderr[-2000:]
    return line


def _check(count: int) -> str:
    from tests.torture._trials import TwoStages, scratch  # imports torch

    faults = ctypes.CDLL(None)
    with scratch() as folder:
        whole = TwoStages(folder / "whole")
        writes = [_counted(whole, stage, faults) for stage in (0, 1)]
        points = [(stage, n) for stage in (0, 1) for n in range(writes[stage])]
        chosen = [points[i * len(points) // count] for i in range(min(count, len(points)))]
        ends = [whole.outcome(stage) for stage in (0, 1)]
        resumed = 0
        for number, (stage, n) in enumerate(chosen):
            for code in (errno.ENOSPC, errno.EIO):
                stages = TwoStages(folder / "trial")
                if stage == 1:
                    shutil.copytree(whole.runs[0], stages.runs[0])
                _fail_once(stages, whole, stage, n, code, faults)
                if number % 4 == 0:
                    trial = stages.start(stage)
                    assert trial.wait() == 0, trial.output
                    assert not stages.leftovers(), stages.leftovers()
                    assert stages.outcome(stage) == ends[stage], f"stage {stage}, write {n}: another end"
                    resumed += 1
                shutil.rmtree(stages.folder)
        trials = 2 * len(chosen)
    return (
        f"ENOSPC and EIO at each of {len(chosen)} of {len(points)} writes, {trials} trials: exit 2 and one line "
        f"each, all checkpoints bit for bit as without; {resumed} of {resumed} resumed ended bit-identical"
    )


def _counted(stages: Any, stage: int, faults: ctypes.CDLL) -> int:
    """Run a stage with nothing failing, keeping all checkpoints; return how many writes it made."""
    told, tell = os.pipe()
    trial = stages.start(
        stage,
        *("--training.keep", "99"),
        before=lambda: faults.faults_arm(f"{stages.folder}/".encode(), -1, 0),
        after=lambda: os.write(tell, str(faults.faults_seen()).encode()),
    )
    assert trial.wait() == 0, trial.output
    os.close(tell)
    return int(os.read(told, 32))


def _fail_once(stages: Any, whole: Any, stage: int, n: int, code: int, faults: ctypes.CDLL) -> None:
    """Run a stage whose n-th write fails; check how it ends and what it leaves."""
    trial = stages.start(stage, before=lambda: faults.faults_arm(f"{stages.folder}/".encode(), n, code))
    ended = trial.wait()
    if ended == 0 and stage == 1 and "codes are not kept for the next training" in trial.output:
        return  # only the cache could not be written: the prior trains without it
    assert ended == 2, f"stage {stage}, write {n}, {errno.errorcode[code]}: exit {ended}: {trial.output}"
    trial.complaint()
    stages.check_files()
    for path in stages.runs[stage].glob("checkpoints/step-*"):
        same = whole.runs[stage] / "checkpoints" / path.name
        assert path.read_bytes() == same.read_bytes(), f"{path.name} differs after write {n} failed"
