"""Train tokenizers of CIFAR-10 for the same processor time and measure them in the same way.

All have 8x8 codes, K = 512, and learn from the same 45,000 training images:

- ``vqvae``: the recipe cifar10-fast, its steps planned so that it ends in time;
- ``tutorial``: the VQ-VAE of sonnet's example, as tutorials write it: eager float32, an EMA codebook of one-hot
  matrices, Adam at 1e-3, batches of 256;
- ``careful``: the networks of the same recipe with vector-quantize-pytorch at its recommended settings (k-means
  start, expiry of dead codes), by a careful user: compiled, bf16 where it is faster, channels-last, fused AdamW,
  warm-up and cosine;
- ``pythae``: pythae's VQVAE with its networks for CIFAR-10 and its EMA codebook, with the settings of its trainer
  (Adam at 1e-4, batches of 64); ``pip install pythae``.

The same prior (the recipe cifar10-prior for ``--prior-steps`` steps) then learns the codes of each. Time is
processor time, so that other work does not favour one. Choose on ``--split validation``; measure ``--split test``
once.

    python benchmarks/peers.py --data CIFAR10 [--minutes 20] [--prior-steps 500] [--samples 2000]
        [--split validation] [--seed 0] [--only vqvae,careful] [--out FOLDER]
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vqvae
from vqvae import load_images
from vqvae.config import load_config
from vqvae.features import network_named
from vqvae.metrics.frechet import frechet_distance, gaussian_of
from vqvae.metrics.images import psnr, ssim
from vqvae.model_io import build_tokenizer
from vqvae.models import VQVAE
from vqvae.networks import PaperNetwork
from vqvae.sampling import sample
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.tokens import write_codes
from vqvae.training.engine import Engine, bf16_is_faster

K, BETA = 512, 0.25
RECIPE = "cifar10-fast"


@dataclass(frozen=True, eq=False)
class Trained:
    """An entrant after its minutes: images, float [B, 3, 32, 32] in [-1, 1], to codes [B, 8, 8], and back."""

    images_seen: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def batches(pixels: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Shuffled batches without end, half of the images mirrored, float [size, 3, 32, 32] in [-1, 1]."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(pixels), generator=draw).split(size)[:-1]:
            images = images_from_pixels(pixels[rows])
            mirrored = torch.rand(len(images), 1, 1, 1, generator=draw) < 0.5
            yield torch.where(mirrored, images.flip(3), images)


def run_for(minutes: float, step: Callable[[Tensor, float], None], images: Iterator[Tensor]) -> int:
    """Call a step with images and the share of the time that has passed; return the number of images."""
    started, seen = time.process_time(), 0
    while (spent := (time.process_time() - started) / (60 * minutes)) < 1:
        batch = next(images)
        step(batch, spent)
        seen += len(batch)
    return seen


def train_vqvae(data: str, pixels: Tensor, minutes: float, seed: int, out: Path) -> Trained:
    def run(steps: int, name: str) -> float:
        started = time.process_time()
        settings = {"training.steps": steps, "training.seed": seed, "training.warmup": min(200, steps // 10)}
        settings |= {"training.checkpoint_every": steps, "training.evaluate_every": steps}
        settings["training.compile"] = True  # auto would not compile short trainings
        vqvae.train(RECIPE, data=data, out=out / name, **settings)
        return time.process_time() - started

    run(10, "compile")  # fills the cache of compiled networks
    short, longer = run(20, "short"), run(320, "longer")
    steps = int(20 + 300 * (60 * minutes - short) / (longer - short))
    print(f"vqvae: {steps:,} steps took {run(steps, 'vqvae') / 60:.1f} min of processor time", flush=True)
    model = vqvae.load_tokenizer(out / "vqvae")
    seen = steps * load_config(RECIPE, "tokenizer", {}).training.batch_size
    return Trained(seen, lambda x: model.encode(x)[..., 0], lambda codes: model.decode(codes[..., None]))


class OneHotEMA(nn.Module):
    """An EMA codebook as tutorials write it: distances, one-hot matrix, moving averages."""

    def __init__(self, dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codebook", torch.randn(K, dim))
        self.register_buffer("counts", torch.zeros(K))
        self.register_buffer("sums", self.codebook.clone())

    def codes(self, flat: Tensor) -> Tensor:
        """Return the nearest codes of vectors."""
        distances = flat.square().sum(1, keepdim=True) + self.codebook.square().sum(1) - 2 * flat @ self.codebook.T
        return distances.argmin(1)

    def forward(self, z_e: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes' vectors, with the gradient of the encoder's, and the commitment loss."""
        flat = z_e.permute(0, 2, 3, 1).reshape(-1, z_e.shape[1])
        onehot = F.one_hot(self.codes(flat), K).float()
        z_q = (onehot @ self.codebook).view(*z_e.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        with torch.no_grad():
            self.counts.mul_(self.decay).add_(onehot.sum(0), alpha=1 - self.decay)
            self.sums.mul_(self.decay).add_(onehot.T @ flat, alpha=1 - self.decay)
            total = self.counts.sum()
            smoothed = (self.counts + 1e-5) / (total + K * 1e-5) * total
            self.codebook.copy_(self.sums / smoothed[:, None])
        return z_e + (z_q - z_e).detach(), F.mse_loss(z_e, z_q.detach())


def train_tutorial(data: str, pixels: Tensor, minutes: float, seed: int, out: Path) -> Trained:
    config = PaperNetwork.Config(width=128, outer_width=64, residual_width=32, residual_blocks=2, factor=4)
    model = build_tokenizer(VQVAE.Config(network=config), channels=3)
    encoder, decoder = model.encoder, model.decoder
    quantizer = OneHotEMA(64)
    width = model.encoder(torch.zeros(1, 3, 32, 32)).shape[1]
    project, back = nn.Conv2d(width, 64, 1), nn.Conv2d(64, width, 1)
    modules = nn.ModuleList([encoder, decoder, project, back])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

    def step(images: Tensor, spent: float) -> None:
        z_q, commitment = quantizer(project(encoder(images)))
        loss = F.mse_loss(decoder(back(z_q)), images) / 0.25 + BETA * commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seen = run_for(minutes, step, batches(pixels, 256, seed))

    def encode(images: Tensor) -> Tensor:
        z_e = project(encoder(images))
        return quantizer.codes(z_e.permute(0, 2, 3, 1).reshape(-1, 64)).view(len(images), *z_e.shape[2:])

    return Trained(seen, encode, lambda codes: decoder(back(quantizer.codebook[codes].permute(0, 3, 1, 2))))


def train_careful(data: str, pixels: Tensor, minutes: float, seed: int, out: Path) -> Trained:
    from vector_quantize_pytorch import VectorQuantize

    config = load_config(RECIPE, "tokenizer", {}).model
    model = build_tokenizer(config, channels=3).to(memory_format=torch.channels_last)  # pyright: ignore
    quantizer = VectorQuantize(
        dim=config.quantizer.dim, codebook_size=K, decay=0.99, commitment_weight=BETA, kmeans_init=True,
        kmeans_iters=10, threshold_ema_dead_code=2, rotation_trick=False,
    )  # fmt: skip
    cpu = torch.device("cpu")
    engine = Engine(cpu, bf16=bf16_is_faster(cpu), compiled=True)
    images = batches(pixels, 64, seed)
    example = next(images).contiguous(memory_format=torch.channels_last)
    z_q = model.encoder(example).detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    encoder, decoder = engine.compile(model.encoder, example), engine.compile(model.decoder, z_q)
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)

    def step(images: Tensor, spent: float) -> None:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, spent / 0.02) * (0.5 + 0.5 * math.cos(math.pi * spent))
        images = images.contiguous(memory_format=torch.channels_last)
        with engine.autocast():
            z_e = encoder(images)
            quantized, _, commitment = quantizer(z_e.permute(0, 2, 3, 1).flatten(1, 2).float())
            z_q = quantized.view(len(images), *z_e.shape[2:], -1).permute(0, 3, 1, 2)
            reconstruction = decoder(z_q.contiguous(memory_format=torch.channels_last))
        loss = F.mse_loss(reconstruction.float(), images) / 0.25 + commitment.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seen = run_for(minutes, step, images)
    quantizer.eval()

    def encode(images: Tensor) -> Tensor:
        z_e = model.encoder(images)
        return quantizer(z_e.permute(0, 2, 3, 1).flatten(1, 2))[1].view(len(images), *z_e.shape[2:])

    return Trained(seen, encode, lambda codes: model.decoder(quantizer.codebook[codes].permute(0, 3, 1, 2)))


def train_pythae(data: str, pixels: Tensor, minutes: float, seed: int, out: Path) -> Trained:
    from pythae.models import VQVAE as TheirVQVAE
    from pythae.models import VQVAEConfig
    from pythae.models.nn.benchmarks.cifar import Decoder_ResNet_VQVAE_CIFAR, Encoder_ResNet_VQVAE_CIFAR

    config = VQVAEConfig(input_dim=(3, 32, 32), latent_dim=16, use_ema=True, num_embeddings=K)
    model = TheirVQVAE(config, Encoder_ResNet_VQVAE_CIFAR(config), Decoder_ResNet_VQVAE_CIFAR(config))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(images: Tensor, spent: float) -> None:
        loss = model({"data": (images + 1) / 2}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seen = run_for(minutes, step, batches(pixels, 64, seed))
    model.eval()

    def encode(images: Tensor) -> Tensor:
        return model({"data": (images + 1) / 2}).quantized_indices.view(len(images), 8, 8)

    def decode(codes: Tensor) -> Tensor:
        embedded = F.embedding(codes, codebook).permute(0, 3, 1, 2)
        return model.decoder(embedded).reconstruction * 2 - 1

    codebook = model.quantizer.embeddings.detach()
    codebook = codebook if codebook.shape[0] == K else codebook.T
    return Trained(seen, encode, decode)


ENTRANTS = {"vqvae": train_vqvae, "tutorial": train_tutorial, "careful": train_careful, "pythae": train_pythae}


@torch.no_grad()
def in_parts(function: Callable[[Tensor], Tensor], all_of: Tensor) -> Tensor:
    return torch.cat([function(part) for part in all_of.split(250)])


def prior_of(codes: dict[str, Tensor], steps: int, out: Path) -> Path:
    """Train the recipe cifar10-prior on codes alone; return its run."""
    for split, each in codes.items():
        write_codes(out / split, each, num_codes=K, image_shape=(3, 32, 32), tokenizer=out.name)
    settings = {"training.steps": steps, "training.evaluate_every": steps}
    settings |= {"data.validation": 0, "data.flip": False}
    vqvae.train_prior(None, "cifar10-prior", data=str(out / "train"), out=out / "prior", **settings)
    return out / "prior"


@torch.no_grad()
def measured(
    trained: Trained, real: Tensor, train: Tensor, arguments: argparse.Namespace, out: Path
) -> list[float]:
    """Return NMSE, PSNR, SSIM, perplexity, Frechet distance; of a prior, bits per code, Frechet of samples."""
    codes = in_parts(lambda part: trained.encode(images_from_pixels(part)), real)
    images = in_parts(trained.decode, codes)
    variance = images_from_pixels(train).double().var().item()
    error = (images - images_from_pixels(real)).double().square().mean().item()
    share = torch.bincount(codes.flatten(), minlength=K).double() / codes.numel()
    judge = network_named("judge")
    features = gaussian_of(judge.features_of_pixels(real))

    def frechet(images: Tensor) -> float:
        return frechet_distance(gaussian_of(judge.features_of_pixels(pixels_from_images(images))), features)

    found = [error / variance, psnr(real, images).mean().item(), ssim(real, images).mean().item()]
    found += [2 ** torch.special.entr(share).sum().div(math.log(2)).item(), frechet(images)]
    if not arguments.prior_steps:
        return [*found, math.nan, math.nan]
    own = in_parts(lambda part: trained.encode(images_from_pixels(part)), train)
    with torch.enable_grad():
        run = prior_of({"train": own, "held-out": codes}, arguments.prior_steps, out)
    prior = vqvae.load_prior(run)
    nats = in_parts(lambda part: prior.code_nats(part[..., None]), codes)
    drawn = sample(prior, arguments.samples, batch_size=250, seed=arguments.seed)[..., 0]
    return [*found, nats.double().mean().item() / math.log(2), frechet(in_parts(trained.decode, drawn))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--prior-steps", type=int, default=500)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(ENTRANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="vector_quantize_pytorch")
    train = load_images(arguments.data, "train", validation=0.1).pixels
    real = load_images(arguments.data, arguments.split, validation=0.1).pixels
    threads = torch.get_num_threads()
    print(f"{len(real):,} {arguments.split} images; {arguments.minutes} min of processor time, {threads} threads")
    heads = ("NMSE", "PSNR", "SSIM", "perplexity", "Frechet", "bits/code", "Frechet of samples")
    print(f"{'':10}{'images seen':>12}" + "".join(f"{head:>12}" for head in heads), flush=True)
    for name in arguments.only.split(","):
        torch.manual_seed(arguments.seed)
        out = arguments.out / name
        out.mkdir(parents=True)
        trained = ENTRANTS[name](arguments.data, train, arguments.minutes, arguments.seed, out)
        figures = measured(trained, real, train, arguments, out)
        print(f"{name:10}{trained.images_seen:12,}" + "".join(f"{figure:12.4f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
