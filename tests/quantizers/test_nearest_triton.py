"""The fused search answers as the tiled one does: every case of the nearest code, in Triton's interpreter.

No GPU is needed, so none of its speed or rounding is tested; where there is one, ``test_nearest_on_cuda`` runs.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from vqvae.quantizers import nearest_code

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs pip install 'vqvae-toolkit[cuda]'")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@needs_triton
def test_in_the_interpreter_every_case_equals_a_float64_brute_force() -> None:
    # a process of its own: Triton decides between compiler and interpreter when it is imported
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "nearest_interpreted.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exact") >= 24, done.stdout


@needs_cuda
def test_nearest_on_cuda_is_that_of_the_cpu(randn) -> None:  # type: ignore[no-untyped-def]
    for offset, scale in ((0.0, 1.0), (30.0, 0.01)):
        x, codebook = offset + scale * randn(1, 5000, 24), offset + scale * randn(2, 700, 24)
        assert torch.equal(nearest_code(x.cuda(), codebook.cuda()).cpu(), nearest_code(x, codebook))
