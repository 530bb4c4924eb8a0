"""In float32 the naive and the cached sampler draw the same codes, at every batch size, from a trained prior.

A prior of each kind is trained for a little on the embedded shapes; then images are drawn naively and through the
cache in batches of 1, 7 and 64. A code may differ only where its uniform number lies on a boundary between two
codes to within float32's rounding, and such near-ties are counted.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from vqvae import load_prior
from vqvae.config import load_config
from vqvae.priors import Prior
from vqvae.sampling import sample, sample_naively
from vqvae.sampling.sampler import numbers
from vqvae.training import prior_config, train

COUNT = 1000
BATCHES = (64, 7, 1)
NEAR = 1e-5  # of the whole distribution function


def check(count: int, seed: int) -> str:
    """Return how many codes were compared, differed, and lay near a boundary; `count` is of images."""
    with TemporaryDirectory() as folder:
        pixelcnn, transformer = trained(Path(folder))
    # drawing naively is slow: the transformer, whose cache is the simpler, gets a tenth
    return f"{compare(pixelcnn, count, seed)}; {compare(transformer, max(1, count // 10), seed)}"


def trained(folder: Path) -> list[Prior]:
    few = {"training.steps": "150", "training.evaluate_every": "150", "training.checkpoint_every": "150"}
    config = load_config("shapes", "tokenizer", few)
    tokenizer = str(train(config, out=str(folder / "tokenizer"), name="shapes").path)
    transformer = {**few, "model.kind": "transformer", "model.width": "64", "model.heads": "4"}
    priors = {"pixelcnn": few, "transformer": transformer}
    for name, overrides in priors.items():
        train(prior_config(tokenizer, "shapes-prior", overrides), out=str(folder / name), name=name)
    return [load_prior(folder / name) for name in priors]


def compare(prior: Prior, count: int, seed: int) -> str:
    labels = torch.arange(count) % prior.num_classes
    drawn = {
        (name, size): draw(prior, count, seed=seed, labels=labels, batch_size=size)
        for name, draw in (("naive", sample_naively), ("cached", sample))
        for size in BATCHES
    }
    reference = drawn["naive", BATCHES[0]]
    near = near_ties(prior, reference, seed, labels)
    differ = torch.zeros(count, dtype=torch.bool)
    for codes in drawn.values():
        other = (codes != reference).flatten(1)
        first = other.int().argmax(1)  # what follows a code that differs is another image
        differ |= other.any(1)
        assert not (other.any(1) & ~near[torch.arange(count), first]).any(), "codes differ where there is no tie"
    return (
        f"{type(prior).__name__}: {count} images x {len(BATCHES)} batch sizes x naive and cached: "
        f"{int(differ.sum())} images differ, {int(near.sum())} of {near.numel()} draws within {NEAR} of a tie"
    )


@torch.no_grad()
def near_ties(prior: Prior, codes: Tensor, seed: int, labels: Tensor) -> Tensor:
    """Say for each draw, bool [N, positions], whether its number lies on a boundary between codes."""
    u = torch.stack(list(numbers(codes[0].numel(), seed, torch.arange(len(codes)))), 1)
    near: list[Tensor] = []
    for part, label, number in zip(codes.split(250), labels.split(250), u.split(250), strict=True):
        cumulative = prior(part, label).flatten(1, 3).double().softmax(-1).cumsum(-1)
        near.append((cumulative - number[..., None]).abs().amin(-1) < NEAR)
    return torch.cat(near)
