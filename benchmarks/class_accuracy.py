"""Measure how often class-conditional samples show the class that was asked for, by a classifier of ``shapes``.

A small network is trained to classify ``shapes`` and tested on the test split. It then classifies samples that a
prior draws for all classes in turn. The table has the fraction of samples whose class is the one that was asked
for.

    python benchmarks/class_accuracy.py PRIOR_RUN [--num 1000] [--temperature 1.0] [--top-p P] [--guidance S]
        [--candidates M] [--out WRONG.png]
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae import load_prior, load_tokenizer, noise
from vqvae.data import ImageSet, load
from vqvae.report.pictures import grid, save_png
from vqvae.sampling import Controls, sample
from vqvae.tensors import images_from_pixels, pixels_from_images

STEPS, BATCH = 1200, 64


def classifier(classes: int) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    pool: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*block(3, 32), *block(32, 64), *block(64, 128), *pool, nn.Linear(128, classes))


def fit(train: ImageSet) -> nn.Module:
    """Train the classifier on ``shapes``, without augmentation: hues and positions vary in the images already."""
    torch.manual_seed(0)
    network = classifier(len(train.classes)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    assert train.labels is not None
    for step in range(STEPS):
        rows = (noise.uniform(0, step, torch.arange(BATCH)) * len(train)).long()
        loss = F.cross_entropy(network(images_from_pixels(train.pixels[rows])), train.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def named(network: nn.Module, pixels: Tensor) -> Tensor:
    return torch.cat([network(images_from_pixels(part)).argmax(1) for part in pixels.split(250)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="the run of a class-conditional prior over shapes")
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--out", help="PNG file for the first 64 samples of a wrong class")
    arguments = parser.parse_args()
    train, test = load("shapes", "train"), load("shapes", "test")
    network = fit(train)
    assert test.labels is not None
    real = (named(network, test.pixels) == test.labels).double().mean()
    print(f"test images classified correctly: {100 * real:.2f} % of {len(test)}")
    asked = torch.arange(arguments.num) % len(test.classes)
    prior, tokenizer = load_prior(arguments.prior), load_tokenizer(arguments.prior)
    controls = Controls(arguments.temperature, top_p=arguments.top_p, guidance=arguments.guidance)
    codes = sample(prior, arguments.num, controls=controls, labels=asked, candidates=arguments.candidates)
    pixels = torch.cat([pixels_from_images(tokenizer.decode(part)) for part in codes.split(250)])
    right = named(network, pixels) == asked
    for label, name in enumerate(test.classes):
        print(f"{name:12}{100 * right[asked == label].double().mean():6.1f} %")
    print(f"samples of the class that was asked for: {100 * right.double().mean():.1f} % of {arguments.num}")
    if arguments.out and not right.all():
        save_png(grid(pixels[~right][:64], columns=8), arguments.out)


if __name__ == "__main__":
    main()
