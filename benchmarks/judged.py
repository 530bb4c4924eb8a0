"""Measure reconstructions and class-conditional samples of CIFAR-10 by the shipped judge.

The judge classifies 93 % of the test images right and took part in no training. The table has, for real images,
reconstructions and samples: the share that the judge assigns to the right class, and the Frechet distance of its
features to those of the real images. Choose controls on ``--split validation``; measure ``--split test`` once.

    python benchmarks/judged.py PRIOR_RUN --data CIFAR10 [--split validation] [--num 5000] [--temperature 1.0]
        [--top-p P] [--guidance S] [--tokenizer RUN] [--out SAMPLES.png]
"""

import argparse
from typing import Literal, cast

import torch
from torch import Tensor

from vqvae import load_images, load_prior, load_tokenizer
from vqvae.features.judge import Judge, load_judge
from vqvae.metrics.frechet import frechet_distance, gaussian_of
from vqvae.models import VQVAE
from vqvae.report.pictures import grid, save_png
from vqvae.sampling import Controls, sample
from vqvae.tensors import images_from_pixels, pixels_from_images


@torch.no_grad()
def features_of(judge: Judge, pixels: Tensor) -> Tensor:
    return torch.cat([judge(images_from_pixels(part)) for part in pixels.split(250)]).double()


def decoded(tokenizer: VQVAE, codes: Tensor) -> Tensor:
    return torch.cat([pixels_from_images(tokenizer.decode(part)) for part in codes.split(250)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="the run or the file of a class-conditional prior, or of a tokenizer alone")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--num", type=int, default=5000, help="number of samples; 0 for reconstructions alone")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--tokenizer", help="the tokenizer that decodes; by default, the prior's")
    parser.add_argument("--out", help="PNG file for the first 80 samples, one class per column")
    arguments = parser.parse_args()
    split = cast(Literal["validation", "test"], arguments.split)
    images = load_images(arguments.data, split, validation=0.1)
    judge, tokenizer = load_judge(), load_tokenizer(arguments.tokenizer or arguments.prior)
    assert images.labels is not None
    print(f"{split} split of {arguments.data}, {len(images.pixels):,} images; judge {judge.digest[:12]}")
    print(f"{'images':16}{'right class':>12}{'Frechet':>10}")
    real = features_of(judge, images.pixels)

    def row(name: str, features: Tensor, labels: Tensor) -> None:
        right = (judge.head(features.float()).argmax(1) == labels).double().mean()
        distance = frechet_distance(gaussian_of(features), gaussian_of(real))
        print(f"{name:16}{right:12.1%}{distance:10.2f}", flush=True)

    row("real", real, images.labels)
    parts = [tokenizer.encode(images_from_pixels(part)) for part in images.pixels.split(250)]
    row("reconstructions", features_of(judge, decoded(tokenizer, torch.cat(parts))), images.labels)
    if not arguments.num:
        return
    labels = torch.arange(arguments.num) % len(images.classes)
    controls = Controls(arguments.temperature, top_p=arguments.top_p, guidance=arguments.guidance)
    codes = sample(load_prior(arguments.prior), arguments.num, controls=controls, labels=labels, batch_size=250)
    pixels = decoded(tokenizer, codes)
    row("samples", features_of(judge, pixels), labels)
    if arguments.out:
        save_png(grid(pixels[:80], columns=10), arguments.out)


if __name__ == "__main__":
    main()
