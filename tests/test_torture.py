"""The checks of ``make torture``, a few trials each: whatever stops a run, nothing of it is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def lines() -> dict[str, str]:
    """Return the line of each check."""
    names = ["kill", "nonfinite", "owners", "ranks", "terminate", "writes"]
    command = [sys.executable, "-m", "tests.torture", *names, "--count", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode in (0, 1), done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("kill", r"1 kills .* 0 files half, (\d+) of \1 runs bit-identical"),
        ("nonfinite", r"3 NaNs, 1 each .* 0 of \d+ files of tensors hold one"),
        ("owners", r"1 starts of 8 processes: one owner each time, 7 refused with exit 2, one line"),
        (
            "ranks",
            r"1 kills and 0 signals .* (\d+) of \1 runs bit-identical|0 kills and 1 signals .* (\d+) of \2 runs",
        ),
        ("terminate", r"1 signals .* exit 128 \+ its number, one line each, at most one more step"),
        (
            "writes",
            r"ENOSPC and EIO at each of 1 of \d+ writes, 2 trials: exit 2 and one line|not run: it needs a C",
        ),
    ],
)
def test_whatever_stops_a_run_nothing_is_lost(check: str, says: str, lines: dict[str, str]) -> None:
    assert re.match(says, lines[check]), lines[check]
