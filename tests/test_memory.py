"""Laws of memory.py: memory that a process frees serves its next tensors."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch, vqvae.memory
if {keep}: vqvae.memory.keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step(): return [torch.ones(4 << 20, dtype=torch.uint8) for _ in range(8)]
step()
before = faults()
for _ in range(10): step()
print(faults() - before)
"""
PAGES = 8 * (4 << 20) // 4096  # of a step


def faults(keep: bool, **variables: str) -> int:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(words, env={**own, **variables}, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_ten_steps_use_the_pages_of_the_first_ones() -> None:
    assert faults(keep=False) > 5 * PAGES  # the law would say nothing if glibc kept the pages anyway
    assert faults(keep=True) < 2 * PAGES


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_thresholds_that_the_user_set_stay() -> None:
    assert faults(keep=True, MALLOC_TRIM_THRESHOLD_="131072") > 5 * PAGES
