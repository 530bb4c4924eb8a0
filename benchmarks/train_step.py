"""Compare the speed of a whole training step, in images per second, with a plain implementation.

All implementations have the same networks, batch and optimizer settings. They take turns in one process:

- ``usual``: eager float32, with the EMA VectorQuantize of vector-quantize-pytorch;
- ``vqvae plain``: this project's step without bf16 and compilation;
- ``vqvae``: this project's step with the precision and compilation that ``auto`` chooses on this machine;
- ``vqvae bf16``: the same in bf16, even if bf16 is slower on this machine.

    python benchmarks/train_step.py [--batch 256] [--rounds 12]
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from vector_quantize_pytorch import VectorQuantize

from vqvae.model_io import build_tokenizer
from vqvae.models import VQVAE, objective
from vqvae.networks import PaperNetwork
from vqvae.quantizers import EMAQuantizer
from vqvae.training.engine import Engine, bf16_is_faster

# the sizes of sonnet's example: width 128, two residual blocks of width 32, K = 512, D = 64
NETWORKS = VQVAE.Config(
    network=PaperNetwork.Config(width=128, outer_width=64, residual_width=32, residual_blocks=2),
    quantizer=EMAQuantizer.Config(num_codes=512, dim=64),
)
LEARNING_RATE, BETA = 1e-3, 0.25
Step = Callable[[Tensor], None]


def usual_step() -> Step:
    model = build_tokenizer(NETWORKS, channels=3)
    quantizer = VectorQuantize(dim=64, codebook_size=512, decay=0.99, commitment_weight=BETA, rotation_trick=False)
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

    def step(images: Tensor) -> None:
        z_e = model.encoder(images)
        batch, channels, height, width = z_e.shape
        flat = z_e.permute(0, 2, 3, 1).reshape(batch, -1, channels)
        z_q, _, commitment = quantizer(flat)
        reconstruction = model.decoder(z_q.view(batch, height, width, channels).permute(0, 3, 1, 2))
        loss = F.mse_loss(reconstruction, images) + commitment.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(engine: Engine, example: Tensor) -> Step:
    model = build_tokenizer(NETWORKS, channels=3).to(memory_format=torch.channels_last)
    z_q = model.encoder(example).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    encoder, decoder = engine.compile(model.encoder, example), engine.compile(model.decoder, z_q)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="vector_quantize_pytorch")
    torch.manual_seed(0)
    # smooth pictures, as photographs are: noise alone would keep every latent apart
    coarse = torch.rand(arguments.batch, 3, 8, 8) * 2 - 1
    images = F.interpolate(coarse, size=32, mode="bicubic").clamp(-1, 1)
    example = images.contiguous(memory_format=torch.channels_last)
    cpu, faster = torch.device("cpu"), bf16_is_faster(torch.device("cpu"))
    steps = {
        "usual": usual_step(),
        "vqvae plain": our_step(Engine(cpu, bf16=False, compiled=False), example),
        "vqvae": our_step(Engine(cpu, bf16=faster, compiled=True), example),
        "vqvae bf16": our_step(Engine(cpu, bf16=True, compiled=True), example),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step(images)
            if turn >= 2:  # the first two start codebooks and finish compiling
                seconds[name].append(time.perf_counter() - started)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"batch {arguments.batch} of 3x32x32, {arguments.rounds} rounds; bf16 is faster here: {faster}")
    print(f"{'step':14}{'images/s, median':>18}{'ratio to usual, median of rounds':>36}")
    for name, times in seconds.items():
        ratio = statistics.median(usual / own for usual, own in zip(seconds["usual"], times, strict=True))
        print(f"{name:14}{arguments.batch / statistics.median(times):18.0f}{ratio:36.2f}")


if __name__ == "__main__":
    main()
