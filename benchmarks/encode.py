"""Compare the time of ``tokenizer.encode`` with the encoder and the nearest code, in milliseconds per batch.

The three take turns in random order within one process, so that other load slows all of them. Times are medians.

- ``networks``: the encoder, then ``nearest_code`` on its output;
- ``encode``: ``tokenizer.encode(images)``;
- ``exact``: ``tokenizer.encode(images, exact=True)``.

    python benchmarks/encode.py [--batches 1,16,256] [--size 32] [--rounds 200]
"""

import argparse
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vqvae.model_io import build_tokenizer, choose_device
from vqvae.models import VQVAE
from vqvae.quantizers import EMAQuantizer, nearest_code

# 128 wide, two residual blocks of 32, K = 512, D = 64
NETWORKS = VQVAE.Config(quantizer=EMAQuantizer.Config(num_codes=512, dim=64))


def seconds(ways: dict[str, Callable[[], Tensor]], rounds: int, device: torch.device) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name in random.sample(list(ways), len(ways)):  # each after each: one leaves the cache to the next
            start = time.perf_counter()
            ways[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number > 1:  # after two rounds to warm up
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {torch.get_num_threads()} threads"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,16,256")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument(
        "--rounds", type=int, default=200, help="rounds of the smallest batch; larger batches get fewer"
    )
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    tokenizer = build_tokenizer(NETWORKS, channels=3).to(device).eval()
    tokenizer.encode(torch.zeros(2, 3, arguments.size, arguments.size, device=device), exact=True)
    print(f"{processor(device)}; torch {torch.__version__}; images of {arguments.size}x{arguments.size}")
    for batch in map(int, arguments.batches.split(",")):
        images = (torch.rand(batch, 3, arguments.size, arguments.size) * 2 - 1).to(device)

        def networks(images: Tensor = images) -> Tensor:
            z_e = tokenizer.encoder(images)
            return nearest_code(z_e.permute(0, 2, 3, 1).flatten(0, 2), tokenizer.quantizer.codebook)

        ways = {
            "networks": networks,
            "encode": lambda images=images: tokenizer.encode(images),
            "exact": lambda images=images: tokenizer.encode(images, exact=True),
        }
        assert torch.equal(ways["networks"](), ways["encode"]().flatten())
        found = seconds(ways, max(12, arguments.rounds // batch), device)
        whole = found["networks"]
        line = "  ".join(f"{name} {1e3 * took:8.2f} ms ({took / whole:.2f}x)" for name, took in found.items())
        print(f"batch {batch:4}: {line}")


if __name__ == "__main__":
    main()
