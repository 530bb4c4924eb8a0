"""Compare a training step of ``EMAQuantizer``, and its nearest-code search, with vector-quantize-pytorch.

For N vectors, K codes and D dimensions, in float32:

- ``peer``: the EMA VectorQuantize of vector-quantize-pytorch: forward (which updates the codebook) and backward;
- ``ours``: ``EMAQuantizer``: forward, backward, ``update`` with revivals;
- ``search``: ``nearest_code`` alone, compared with ``GEMM``, the product x @ codebook.T;
- the peak memory that a step adds to a process, measured in a fresh process.

Peer, ours, search and GEMM take turns in one process, so that other load slows all of them.

    python benchmarks/quantizers.py [--rounds 7] [--sizes 16384,512,64 ...]
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from vector_quantize_pytorch import VectorQuantize

from vqvae.quantizers import EMAQuantizer, nearest_code

BETA, DECAY = 0.25, 0.99
SIZES = ("16384,512,64", "16384,8192,64", "8192,65536,8")
Step = Callable[[], object]


def peer_step(n: int, k: int, d: int) -> Step:
    quantizer = VectorQuantize(dim=d, codebook_size=k, decay=DECAY, commitment_weight=BETA, rotation_trick=False)
    x = torch.randn(1, n, d, requires_grad=True)

    def step() -> None:
        z_q, _, commitment = quantizer(x)
        (z_q.sum() + commitment.sum()).backward()
        x.grad = None

    return step


def our_step(n: int, k: int, d: int) -> Step:
    quantizer = EMAQuantizer(k, d, decay=DECAY)
    z_e = torch.randn(n // 64, d, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()

    def step() -> None:
        quantized = quantizer(z_e)
        (quantized.z_q.sum() + BETA * quantized.commitment_loss).backward()
        quantizer.update()
        z_e.grad = None

    return step


def seconds(step: Step) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def alternate(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median time of each step in seconds, over rounds in which all steps take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
    return {name: statistics.median(found) for name, found in times.items()}


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def added_memory(side: str, size: str) -> int:
    """Return the peak memory in bytes that a second step adds to a fresh process (Linux only)."""
    command = [sys.executable, __file__, "--memory", side, "--sizes", size]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_memory(side: str, n: int, k: int, d: int) -> None:
    step = (peer_step if side == "peer" else our_step)(n, k, d)
    torch.ones(512, 512) @ torch.ones(512, 512)  # the thread pool's own
    before = peak_bytes()
    step()
    step()
    print(peak_bytes() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="N,K,D")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", choices=["peer", "ours"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    sizes = [tuple(map(int, size.split(","))) for size in arguments.sizes]
    if arguments.memory:
        print_memory(arguments.memory, *sizes[0])
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; ms, medians")
    print(f"{'N, K, D':>16}{'peer':>9}{'ours':>9}{'peer/ours':>11}{'search':>9}{'GEMM':>8}{'search/GEMM':>13}"
          f"{'peer MB':>10}{'our MB':>8}")  # fmt: skip
    for (n, k, d), size in zip(sizes, arguments.sizes, strict=True):
        x, codebook = torch.randn(n, d), torch.randn(k, d)
        steps: dict[str, Step] = {
            "peer": peer_step(n, k, d),
            "ours": our_step(n, k, d),
            "search": lambda x=x, codebook=codebook: nearest_code(x, codebook),
            "GEMM": lambda x=x, codebook=codebook: x @ codebook.T,
        }
        ms = {name: 1e3 * found for name, found in alternate(steps, arguments.rounds).items()}
        mb = {side: added_memory(side, size) / 1e6 for side in ("peer", "ours")}
        print(f"{size:>16}{ms['peer']:9.1f}{ms['ours']:9.1f}{ms['peer'] / ms['ours']:11.1f}{ms['search']:9.1f}"
              f"{ms['GEMM']:8.1f}{ms['search'] / ms['GEMM']:13.2f}{mb['peer']:10.0f}{mb['ours']:8.0f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
