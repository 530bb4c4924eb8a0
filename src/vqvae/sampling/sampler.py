"""Draw codes from a prior, one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from vqvae import noise
from vqvae.component import STRICT, Count, NotNegative
from vqvae.sampling.guidance import check_guidance, has_classes, stepper
from vqvae.sampling.protocol import PriorProtocol
from vqvae.tensors import Labels, checked_labels


def restrict(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Return probabilities, float64 [B, K], of logits after temperature, top-k and top-p.

    Args:
        logits: float [B, K].
        temperature: divides the logits, 0 or more; 0 takes the most likely code.
        top_k: keep only the k most likely codes; of equally likely codes, those with the lower index.
        top_p: keep the smallest set of most likely codes whose probabilities sum to at least top_p
            (arXiv 1904.09751).
    """
    logits = logits.double()
    if temperature == 0.0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()
    logits = (logits - logits.amax(1, keepdim=True)) / temperature
    if top_k is not None:
        order = logits.argsort(dim=1, descending=True, stable=True)
        logits = logits.scatter(1, order[:, top_k:], -torch.inf)
    probabilities = logits.softmax(1)
    if top_p is not None and top_p < 1.0:
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        excess = ordered.cumsum(1) - ordered >= top_p  # the more likely codes reach top_p without this code
        probabilities = probabilities.scatter(1, order, ordered.masked_fill(excess, 0.0))
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    return probabilities


def invert(weights: Tensor, u: Tensor) -> Tensor:
    """Draw a code from each row of weights by inverting the cumulative distribution, int64 [B].

    Args:
        weights: float [B, K], proportional to the probabilities.
        u: float64 [B], uniform numbers in (0, 1).
    """
    cumulative = weights.cumsum(1, dtype=torch.float64)
    at = u[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, at, right=True).squeeze(1).clamp_(max=weights.shape[1] - 1)


def numbers(length: int, *keys: int | Tensor) -> Iterator[Tensor]:
    """Yield uniform numbers, float64 [B], for each of ``length`` codes: ``noise.uniform(*keys, index)``.

    With the keys (seed, images), int64 [B], a sample depends neither on its batch nor on the order of sampling.
    """
    for codes in torch.arange(length).split(256):  # many numbers per call, since a call is slow
        yield from noise.uniform(*keys, codes[:, None])


def candidate_numbers(length: int, seed: int, images: Tensor, candidates: int) -> Iterator[Tensor]:
    """Yield uniform numbers, float64 [B * M], for each of ``length`` codes; each candidate has its own seed."""
    seeds = noise.random_bits(seed, torch.arange(candidates))
    seeds[0] = seed  # candidate 0 is the sample without candidates
    return numbers(length, seeds.repeat(len(images)), images.repeat_interleave(candidates))


@dataclass(frozen=True)
class Controls:
    """Changes of a prior's distribution in sampling; the defaults change nothing.

    Attributes:
        temperature: divides the logits, 0 or more; 0 takes the most likely code.
        top_k: keep only the k most likely codes; 1 or more, or None for all codes.
        top_p: keep the smallest set of most likely codes whose probabilities sum to at least top_p; in (0, 1], or
            None for all codes.
        guidance: weight of classifier-free guidance, 1 is the prior itself (arXiv 2207.12598, equation 6).
    """

    __pydantic_config__ = STRICT

    temperature: NotNegative = 1.0
    top_k: Count | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    guidance: float = 1.0

    def words(self) -> str:
        """Return the controls that differ from the defaults, such as ``temperature 1.2, guidance 8``, or ""."""
        own = {name: value for name, value in vars(self).items() if value != getattr(PLAIN, name)}
        return ", ".join(f"{name} {value:g}" for name, value in own.items())

    def fitting(self, *, classes: bool) -> "Controls":
        """Return the controls for a prior with or without classes: without them, guidance has no effect."""
        return self if classes else replace(self, guidance=1.0)

    def check(self, *, classes: bool) -> None:
        """Check the ranges.

        Args:
            classes: whether the prior has classes and labels are given.

        Raises:
            ValueError: for a value out of range, and for guidance without classes.
        """
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature}: must be 0 or more")
        if self.top_k is not None and not (isinstance(self.top_k, Integral) and self.top_k >= 1):
            raise ValueError(f"top_k {self.top_k}: must be 1 or more, an integer")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: must be above 0 and at most 1")
        if not isfinite(self.guidance):
            raise ValueError(f"guidance {self.guidance}: must be a finite number")
        check_guidance(self.guidance, classes=classes)

    def pick(self, logits: Tensor, u: Tensor) -> Tensor:
        """Draw codes, int64 [B], of logits [B, K] with uniform numbers u, float64 [B]."""
        here = logits.cpu() if logits.device.type == "mps" else logits  # MPS has no float64
        if self.temperature == 1.0 and self.top_k is None and self.top_p is None:
            weights = here.softmax(1)  # not in float64, which takes twice as long
        else:
            weights = restrict(here, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        return invert(weights, u.to(here.device)).to(logits.device)


PLAIN = Controls()


def sample(
    prior: PriorProtocol,
    num: int,
    *,
    seed: int = 0,
    controls: Controls = PLAIN,
    labels: Labels | None = None,
    grid: tuple[int, int] | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    progress: Callable[[int], object] = lambda positions: None,
    first: int = 0,
    candidates: int = 1,
) -> Tensor:
    """Draw ``num`` grids of codes from a prior.

    Image i is a function of (seed, i, its label). It does not depend on the batch size or on ``num``.

    With candidates M > 1, draw M samples per image and keep the one with the highest likelihood ratio for its
    class, log p(codes | class) - log p(codes). By Bayes' rule the ratio is log p(class | codes) plus a constant.
    Candidates make classes clearer and images less varied, and take M times as long. Candidate 0 is the sample
    that M = 1 returns.

    Args:
        prior: the prior, in eval mode.
        num: number of images.
        seed: seed of all samples.
        controls: temperature, top_k, top_p, guidance.
        labels: the class of each image, integers [num], one integer for all images, or None.
        grid: (h, w) of the codes; by default, the grid of the prior.
        batch_size: number of grids that are drawn at once.
        device: device of the returned codes; by default, the device of the prior.
        progress: called after each step with the number of codes that the step drew, for a progress bar.
        first: index of the first image; the images first .. first + num - 1 are drawn.
        candidates: M, the number of candidates per image.

    Returns:
        int64 [num, h, w, n].

    Raises:
        ValueError: for a negative ``num``, a grid without positions, a control out of range, labels that do not
            fit, and guidance or candidates without labels.
    """
    if num < 0:
        raise ValueError(f"num {num}: must be 0 or more")
    h, w = grid or prior.spec.grid
    if h < 1 or w < 1:
        raise ValueError(f"grid {h}x{w}: height and width must be 1 or more")
    labels = None if labels is None else checked_labels(labels, count=num, num_classes=prior.num_classes).cpu()
    controls.check(classes=has_classes(prior, labels))
    check_candidates(candidates, classes=has_classes(prior, labels))
    batches: list[Tensor] = []
    with torch.inference_mode():  # at a batch size of 1, a tenth faster than no_grad
        for images in torch.arange(num).split(max(1, batch_size // candidates)):
            rows = images.repeat_interleave(candidates)
            part = None if labels is None else labels[rows]
            step = stepper(prior, len(rows), (h, w), labels=part, guidance=controls.guidance)
            drawn: list[Tensor] = []
            for u in candidate_numbers(h * w * prior.spec.codes_per_position, seed, first + images, candidates):
                logits = step(drawn[-1] if drawn else None)
                drawn.append(controls.pick(logits, u))
                progress(len(rows))
            codes = torch.stack(drawn, 1).view(-1, h, w, prior.spec.codes_per_position)
            if part is not None and candidates > 1:
                best = class_evidence(prior, codes, part).view(-1, candidates).argmax(1)
                codes = codes.view(-1, candidates, *codes.shape[1:])[torch.arange(len(images)), best]
            batches.append(codes)
    return torch.cat(batches).to(device)  # outside inference mode, so that autograd may use the codes


def check_candidates(candidates: int, *, classes: bool) -> None:
    """Raise ValueError for fewer candidates than one, and for several without classes."""
    if candidates < 1:
        raise ValueError(f"candidates {candidates}: must be 1 or more")
    if candidates > 1 and not classes:
        raise ValueError(f"candidates {candidates}: needs labels, and a prior that was trained with classes")


@torch.no_grad()
def class_evidence(prior: PriorProtocol, codes: Tensor, labels: Tensor) -> Tensor:
    """Return log p(codes | label) - log p(codes) in nats, float64 [B].

    Args:
        prior: in eval mode, with classes.
        codes: int64 [B, h, w, n].
        labels: int64 [B].
    """

    def log_p(part: Tensor, own: Tensor | None) -> Tensor:
        log_p = prior(part, own).double().log_softmax(-1).gather(-1, part[..., None])
        return log_p.flatten(1).sum(1)

    few = zip(codes.split(8), labels.to(codes.device).split(8), strict=True)
    return torch.cat([log_p(part, own) - log_p(part, None) for part, own in few]).cpu()


@torch.no_grad()
def sample_naively(
    prior: PriorProtocol, num: int, *, seed: int = 0, labels: Tensor | None = None, batch_size: int = 64
) -> Tensor:
    """Draw the samples of ``sample`` with a forward pass of the whole grid per code; slow, to test caches."""
    codes = torch.zeros(num, *prior.spec.shape, dtype=torch.int64)
    for images in torch.arange(num).split(batch_size):
        part, own_labels = codes[images], None if labels is None else labels[images]
        for place, u in zip(_raster(*part.shape[1:]), numbers(part[0].numel(), seed, images), strict=True):
            logits = prior(part, own_labels)[:, *place]
            part[:, *place] = PLAIN.pick(logits, u)
        codes[images] = part
    return codes


def _raster(h: int, w: int, n: int) -> Iterator[tuple[int, int, int]]:
    return ((row, column, depth) for row in range(h) for column in range(w) for depth in range(n))
