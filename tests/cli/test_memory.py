"""Memory that is not enough ends a command with one line, which says what helps."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vqvae.errors import is_out_of_memory

LIMIT = 4_500_000 * 1024  # bytes of address space


def test_a_batch_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    words = "train shapes --data shapes:200 --out run --steps 2 --device cpu --model.width 8 --training.batch_size"
    done = subprocess.run(
        [sys.executable, "-m", "vqvae", *words.split(), "400000", "--training.compile", "false"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )
    [line] = [line for line in done.stderr.splitlines() if line.startswith("vqvae: ")]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert line.startswith("vqvae: out of memory: ") and "use a smaller --training.batch_size" in line


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_words_of_torch_and_of_the_system_are_known(error: BaseException, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory
