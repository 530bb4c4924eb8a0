"""Laws of memory.py: memory that a process frees serves its next tensors, until the block ends."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch, vqvae.memory

def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step(): return [torch.ones(4 << 20, dtype=torch.uint8) for _ in range(8)]
def resident(): return int(open("/proc/self/statm").read().split()[1])

start = resident()
with vqvae.memory.freed_memory_kept():
    step()
    before = faults()
    for _ in range(10): step()
    print(faults() - before)
    print(resident() - start)
print(resident() - start)
"""
PAGES = 8 * (4 << 20) // 4096  # of a step

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def measured(**variables: str) -> list[int]:
    """Return the page faults of ten steps, and the pages kept in the block and after it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", STEPS]
    done = subprocess.run(words, env={**own, **variables}, capture_output=True, check=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_ten_steps_use_the_pages_of_the_first_ones() -> None:
    assert measured()[0] < 2 * PAGES


def test_the_pages_go_back_at_the_end() -> None:
    _, inside, after = measured()
    assert inside > PAGES // 2
    assert after < PAGES // 2


def test_thresholds_that_the_user_set_stay() -> None:
    assert measured(MALLOC_TRIM_THRESHOLD_="131072")[0] > 5 * PAGES
