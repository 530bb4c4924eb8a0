"""Run by ``test_nearest_triton`` under TRITON_INTERPRET=1: the fused search on every case of ``test_nearest``."""

import runpy
from pathlib import Path

import torch

from vqvae.quantizers import nearest
from vqvae.quantizers.nearest_triton import fused_search

HERE = Path(__file__).parent
CASES = runpy.run_path(str(HERE / "test_nearest.py"))["CASES"]
brute_force = runpy.run_path(str(HERE / "conftest.py"))["brute_force_nearest"]


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(name, x, codebook):
    codes = nearest._nearest(x, codebook, fused_search, torch.finfo(torch.float32).eps)
    assert codes.dtype == torch.int64 and torch.equal(codes, brute_force(x, codebook)), name
    print(name, "exact")


def check_the_search_alone():
    x, e = randn(1, 70, 37), randn(2, 150, 37)
    least, second, codes = fused_search(x, e, e.square().sum(1) / 2)
    best = least[:, 0]
    scores = (e.double().square().sum(1) / 2 - x.double() @ e.double().T).sort(1)
    torch.testing.assert_close(torch.stack([best, second], 1).double(), scores.values[:, :2], rtol=1e-5, atol=1e-5)
    assert torch.equal(codes, scores.indices[:, 0])


if __name__ == "__main__":
    for case in CASES:
        check(case.__name__, *case(randn))
    check("channels that fill no tile", randn(1, 70, 37), randn(2, 150, 37))
    hit = randn(1, 70, 8)
    hit[3, 1] = torch.nan
    codes = nearest._nearest(hit, randn(2, 50, 8), fused_search, torch.finfo(torch.float32).eps)
    rest = torch.arange(70) != 3
    assert codes[3] == 0 and torch.equal(codes[rest], brute_force(hit[rest], randn(2, 50, 8)))
    check_the_search_alone()
