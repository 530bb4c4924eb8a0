"""Processes that are started, killed and waited for."""

import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch


def start(job: Callable[[], object]) -> int:
    """Run a job in a process of its own; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
        child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)  # the parent's other threads are not here
        job()
        os._exit(0)
    finally:
        os._exit(1)


def kill_at_random(job: Callable[[], object], *, seed: int, longest: float) -> None:
    """Run a job in a process of its own and kill -9 it at a random moment."""
    child = start(job)
    time.sleep(random.Random(seed).uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def end(child: int) -> int:
    """Wait for a process; return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file's bytes by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
