"""Measure reconstructions and class-conditional samples of CIFAR-10 by the shipped judge.

The judge classifies 93 % of the test images right and took part in no training. The table has, for real images,
reconstructions and samples:

- ``right class``: the share that the judge assigns to the right class;
- ``Frechet``, ``precision``, ``recall``: of the judge's features, against those of the real images;
- ``nearest``: the median distance of the features to those of the nearest training image. Samples that copy
  training images are nearer to them than real images are.

Choose controls on ``--split validation``; measure ``--split test`` once.

    python benchmarks/judged.py PRIOR_RUN --data CIFAR10 [--split validation] [--num 5000] [--temperature 1.0]
        [--top-p P] [--guidance S] [--tokenizer RUN] [--out SAMPLES.png] [--neighbours PAIRS.png]
"""

import argparse
from typing import Literal, cast

import torch
from torch import Tensor

from vqvae import load_images, load_prior, load_tokenizer
from vqvae.features.judge import Judge, load_judge
from vqvae.metrics.frechet import frechet_distance, gaussian_of
from vqvae.metrics.precision_recall import Nearest, lies_within, nearest
from vqvae.models import VQVAE
from vqvae.report.pictures import grid, pairs, save_png
from vqvae.sampling import Controls, sample
from vqvae.tensors import images_from_pixels, pixels_from_images

HEADS = ("right class", "Frechet", "precision", "recall", "nearest")


@torch.no_grad()
def features_of(judge: Judge, pixels: Tensor) -> Tensor:
    return torch.cat([judge(images_from_pixels(part)) for part in pixels.split(250)]).double()


def decoded(tokenizer: VQVAE, codes: Tensor) -> Tensor:
    return torch.cat([pixels_from_images(tokenizer.decode(part)) for part in codes.split(250)])


class Measures:
    """The judge, and its features of the real images and of the training images."""

    def __init__(self, real: Tensor, train: Tensor) -> None:
        self.judge = load_judge()
        print(f"judge {self.judge.digest[:12]}")
        self.real, self.train = features_of(self.judge, real), features_of(self.judge, train)
        print(f"{'images':16}" + "".join(f"{head:>12}" for head in HEADS))

    def row(self, name: str, pixels: Tensor, labels: Tensor) -> Nearest:
        """Print the figures of images, uint8 [N, 3, 32, 32], and return the nearest training images."""
        features = features_of(self.judge, pixels)
        right = (self.judge.head(features.float()).argmax(1) == labels).double().mean()
        distance = frechet_distance(gaussian_of(features), gaussian_of(self.real))
        precision = lies_within(features, self.real).double().mean()
        recall = lies_within(self.real, features).double().mean()
        training = nearest(features, self.train, 1)
        away = training.squares.sqrt().median()
        print(f"{name:16}{right:12.1%}{distance:12.2f}{precision:12.3f}{recall:12.3f}{away:12.2f}", flush=True)
        return training


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
    parser.add_argument("--neighbours", help="PNG file for 30 samples above their nearest training images")
    arguments = parser.parse_args()
    split = cast(Literal["validation", "test"], arguments.split)
    images = load_images(arguments.data, split, validation=0.1)
    train = load_images(arguments.data, "train", validation=0.1)
    tokenizer = load_tokenizer(arguments.tokenizer or arguments.prior)
    prior = load_prior(arguments.prior) if arguments.num else None
    assert images.labels is not None
    print(f"{split} split of {arguments.data}, {len(images.pixels):,} images")
    measures = Measures(images.pixels, train.pixels)
    measures.row("real", images.pixels, images.labels)
    codes = torch.cat([tokenizer.encode(images_from_pixels(part)) for part in images.pixels.split(250)])
    measures.row("reconstructions", decoded(tokenizer, codes), images.labels)
    if prior is None:
        return
    labels = torch.arange(arguments.num) % len(images.classes)
    controls = Controls(arguments.temperature, top_p=arguments.top_p, guidance=arguments.guidance)
    codes = sample(prior, arguments.num, controls=controls, labels=labels, batch_size=250)
    pixels = decoded(tokenizer, codes)
    training = measures.row("samples", pixels, labels)
    if arguments.out:
        save_png(grid(pixels[:80], columns=10), arguments.out)
    if arguments.neighbours:
        save_png(pairs(pixels[:30], train.pixels[training.rows[:30, 0]], columns=10), arguments.neighbours)


if __name__ == "__main__":
    main()
