"""Compare the time of sampling through the cache with naive sampling and with one pass of the network, in seconds.

K = 512, one code per position, untrained weights, float32, the same samples in all cases. For each grid and batch:

- ``pass``: one pass over a whole grid of known codes, a lower bound for any sampler;
- ``naive``: sampling with a full pass for every code. If it would take longer than ``--full`` seconds, some steps
  spread over the grid are timed, and the time is extrapolated and marked with ``~``;
- ``cached``: ``vqvae.sampling.sample``, from the start to the codes;
- the ratios naive / cached (the speed-up) and cached / pass (at least 1).

    python benchmarks/sampling.py [--grids 8 16 32] [--batches 1 64] [--rounds 3] [--full 60] [--priors pixelcnn]
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from vqvae.priors import CodeTransformer, PixelCNN, Prior
from vqvae.sampling import PLAIN, sample, sample_naively
from vqvae.sampling.sampler import numbers

K = 512
_TIMED_STEPS = 8
_SHORT = 5.0  # seconds; naive sampling that takes less is timed in every round


class Row(NamedTuple):
    """Seconds."""

    one_pass: float
    naive: float
    extrapolated: bool
    cached: float


def build(name: str, grid: tuple[int, int]) -> Prior:
    torch.manual_seed(0)
    if name == "pixelcnn":
        return PixelCNN(K, grid=grid, width=64, layers=12, head_width=256).eval()
    return CodeTransformer(K, grid=grid, width=128, layers=6, heads=4, head_width=256).eval()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def naive_step(prior: Prior, codes: torch.Tensor, u: torch.Tensor, row: int, column: int) -> None:
    logits = prior(codes)[:, row, column, 0]
    codes[:, row, column, 0] = PLAIN.pick(logits, u)


def naive_seconds(prior: Prior, batch: int, full: float) -> tuple[float, bool]:
    """Return the time of naive sampling, and whether it was extrapolated from some of its steps."""
    h, w = prior.spec.grid
    codes = torch.zeros(batch, h, w, 1, dtype=torch.int64)
    u = next(numbers(1, 0, torch.arange(batch)))
    positions = range(0, h * w, max(1, h * w // _TIMED_STEPS))
    steps = [seconds(partial(naive_step, prior, codes, u, *divmod(position, w))) for position in positions]
    estimate = statistics.mean(steps) * h * w
    if estimate > full:
        return estimate, True
    return seconds(lambda: sample_naively(prior, batch, batch_size=batch)), False


@torch.no_grad()
def measure(prior: Prior, batch: int, rounds: int, full: float) -> Row:
    codes = sample(prior, batch, batch_size=batch)
    prior(codes)
    passes, cached = list[float](), list[float]()
    naive, extrapolated = naive_seconds(prior, batch, full)
    naives = [naive]
    for _ in range(rounds):  # in turn, so that a slow minute of the machine meets all
        passes.append(min(seconds(lambda: prior(codes)) for _ in range(3)))
        cached.append(seconds(lambda: sample(prior, batch, batch_size=batch)))
        if naive < _SHORT:
            naives.append(seconds(lambda: sample_naively(prior, batch, batch_size=batch)))
    return Row(statistics.median(passes), statistics.median(naives), extrapolated, statistics.median(cached))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, nargs="+", default=[8, 16, 32], help="sides of square grids")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--priors", nargs="+", default=["pixelcnn", "transformer"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--full", type=float, default=60.0, help="seconds above which naive sampling is extrapolated"
    )
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, K = {K}")
    print("times with ~ are extrapolated from the time of some passes")
    print(f"{'prior':12}{'grid':>7}{'batch':>6}{'pass ms':>10}{'naive s':>11}{'cached s':>10}"
          f"{'naive/cached':>14}{'cached/pass':>13}{'codes/s':>10}")  # fmt: skip
    for name in arguments.priors:
        for side in arguments.grids:
            prior = build(name, (side, side))
            for batch in arguments.batches:
                row = measure(prior, batch, arguments.rounds, arguments.full)
                naive = f"{'~' if row.extrapolated else ''}{row.naive:.2f}"
                print(
                    f"{name:12}{f'{side}x{side}':>7}{batch:6}"
                    f"{1e3 * row.one_pass:10.1f}{naive:>11}{row.cached:10.3f}"
                    f"{row.naive / row.cached:14.1f}{row.cached / row.one_pass:13.2f}"
                    f"{batch * side * side / row.cached:10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
