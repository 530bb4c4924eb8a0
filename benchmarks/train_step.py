"""Compare the speed of a whole training step, in images per second, with a plain implementation.

All implementations have the same networks, batch and optimizer settings. They take turns in one process:

- ``usual``: eager float32, with the EMA VectorQuantize of vector-quantize-pytorch and Adam;
- ``careful``: the same quantizer, run by a careful user: compiled networks, bf16, channels-last, fused
  AdamW;
- ``vqvae plain``: this project's step without bf16 and compilation;
- ``vqvae``: this project's step with the precision and compilation that ``auto`` chooses on this machine;
- ``vqvae bf16``: the same in bf16, even if bf16 is slower on this machine.

The last column is the share of the rate of a bf16 GEMM of 4096 x 4096 x 4096, measured in the same run. A step
counts as three forward passes of the convolutions.

    python benchmarks/train_step.py [--batch 256] [--rounds 12] [--network paper]
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from vector_quantize_pytorch import VectorQuantize

from vqvae.memory import freed_memory_kept
from vqvae.model_io import build_tokenizer
from vqvae.models import VQVAE, objective
from vqvae.networks import NetworkConfig, PaperNetwork, ResNet
from vqvae.quantizers import EMAQuantizer
from vqvae.training.engine import Engine, Network, bf16_is_faster

# the sizes of sonnet's example, with K = 512 and D = 64, and the network of the recipe cifar10
NETWORKS: dict[str, NetworkConfig] = {
    "paper": PaperNetwork.Config(width=128, outer_width=64, residual_width=32, residual_blocks=2),
    "resnet": ResNet.Config(width=128, outer_width=64, encoder_blocks=2, decoder_blocks=4, outer_blocks=0),
}
LEARNING_RATE, BETA, GEMM = 1e-3, 0.25, 4096
Step = Callable[[Tensor], None]


def build(network: str) -> VQVAE:
    config = VQVAE.Config(network=NETWORKS[network], quantizer=EMAQuantizer.Config(num_codes=512, dim=64))
    return build_tokenizer(config, channels=3)


def peer_step(network: str, careful: Engine | None, example: Tensor) -> Step:
    """A step with vector-quantize-pytorch: eager float32, or with a careful user's engine."""
    model = build(network)
    quantizer = VectorQuantize(dim=64, codebook_size=512, decay=0.99, commitment_weight=BETA, rotation_trick=False)
    encoder: Network = model.encoder
    decoder: Network = model.decoder
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    if careful is not None:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        encoder, decoder = compiled(model, careful, example)
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(images: Tensor) -> None:
        if careful is not None:
            images = images.contiguous(memory_format=torch.channels_last)
        with nullcontext() if careful is None else careful.autocast():
            z_e = encoder(images)
            batch, channels, height, width = z_e.shape
            flat = z_e.permute(0, 2, 3, 1).reshape(batch, -1, channels)
            z_q, _, commitment = quantizer(flat.float())
            reconstruction = decoder(z_q.view(batch, height, width, channels).permute(0, 3, 1, 2))
        loss = F.mse_loss(reconstruction.float(), images) + commitment.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def compiled(model: VQVAE, engine: Engine, example: Tensor) -> tuple[Network, Network]:
    z_q = model.encoder(example).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    return engine.compile(model.encoder, example), engine.compile(model.decoder, z_q)


def our_step(network: str, engine: Engine, example: Tensor) -> Step:
    model = build(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    encoder, decoder = compiled(model, engine, example)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def step(images: Tensor) -> None:
        images = images.contiguous(memory_format=torch.channels_last)
        with engine.autocast():
            quantized = model.quantizer(encoder(images))
            reconstruction = decoder(quantized.z_q)
        objective(images, reconstruction, quantized, pixel_variance=0.25, beta=BETA).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.quantizer.update()  # pyright: ignore[reportCallIssue]

    return step


def flop_per_image(network: str) -> int:
    """Return the floating-point operations of a step per image: three forward passes of encoder and decoder."""
    model = build(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.decoder(model.encoder(torch.zeros(1, 3, 32, 32)))
    return 3 * counter.get_total_flops()


def gemm() -> Step:
    """A bf16 product of two matrices of GEMM x GEMM; the images are ignored."""
    left, right = torch.randn(2, GEMM, GEMM).bfloat16()

    def step(_: Tensor) -> None:
        torch.mm(left, right)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="paper")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="vector_quantize_pytorch")
    torch.manual_seed(0)
    # smooth pictures, as photographs are: noise alone would keep every latent apart
    coarse = torch.rand(arguments.batch, 3, 8, 8) * 2 - 1
    images = F.interpolate(coarse, size=32, mode="bicubic").clamp(-1, 1)
    example = images.contiguous(memory_format=torch.channels_last)
    cpu, faster = torch.device("cpu"), bf16_is_faster(torch.device("cpu"))
    fast, bf16 = (Engine(cpu, bf16=way, compiled=True) for way in (faster, True))
    name = arguments.network
    steps = {
        "usual": peer_step(name, None, example),
        "careful": peer_step(name, bf16, example),
        "vqvae plain": our_step(name, Engine(cpu, bf16=False, compiled=False), example),
        "vqvae": our_step(name, fast, example),
        "vqvae bf16": our_step(name, bf16, example),
        "gemm": gemm(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with freed_memory_kept():  # of all implementations alike: they share a process
        for turn in range(arguments.rounds + 2):
            for name, step in steps.items():
                started = time.perf_counter()
                step(images)
                if turn >= 2:  # the first two start codebooks and finish compiling
                    seconds[name].append(time.perf_counter() - started)
    rate = 2 * GEMM**3 / statistics.median(seconds.pop("gemm"))
    flop = flop_per_image(arguments.network)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"batch {arguments.batch} of 3x32x32, {arguments.rounds} rounds; bf16 is faster here: {faster}")
    print(f"network {arguments.network}: {flop / 1e6:.0f} MFLOP per image; bf16 GEMM: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'step':14}{'images/s, median':>18}{'to usual':>10}{'to careful':>12}{'share of GEMM':>15}")
    for name, times in seconds.items():
        to_usual, to_careful = (
            statistics.median(other / own for other, own in zip(seconds[peer], times, strict=True))
            for peer in ("usual", "careful")
        )
        speed = arguments.batch / statistics.median(times)
        print(f"{name:14}{speed:18.0f}{to_usual:10.2f}{to_careful:12.2f}{speed * flop / rate:15.0%}")


if __name__ == "__main__":
    main()
