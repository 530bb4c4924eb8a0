"""Drawing codes from a prior, one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from vqvae import noise
from vqvae.sampling.guidance import check_guidance, has_classes, stepper
from vqvae.sampling.protocol import Prior


def restrict(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Return probabilities, float64 [B, K], of logits [B, K] under the controls.

    Args:
        logits: float [B, K].
        temperature: above 0; below 1 sharpens, 0.0 takes the likeliest code.
        top_k: keep the k likeliest codes alone.
        top_p: keep the fewest codes whose probabilities reach this sum (arXiv 1904.09751).
    """
    logits = logits.double()
    if temperature == 0.0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()
    logits = (logits - logits.amax(1, keepdim=True)) / temperature
    if top_k is not None:
        order = logits.argsort(dim=1, descending=True, stable=True)  # of equals, the lower codes are kept
        logits = logits.scatter(1, order[:, top_k:], -torch.inf)
    probabilities = logits.softmax(1)
    if top_p is not None and top_p < 1.0:
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        excess = ordered.cumsum(1) - ordered >= top_p  # the mass before it suffices already
        probabilities = probabilities.scatter(1, order, ordered.masked_fill(excess, 0.0))
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    return probabilities


def invert(weights: Tensor, u: Tensor) -> Tensor:
    """Return the codes, int64 [B], at which the distribution function of weights passes u of its whole.

    Args:
        weights: float [B, K], not negative; they need not sum to one.
        u: float64 [B] in (0, 1).
    """
    cumulative = weights.cumsum(1, dtype=torch.float64)
    at = u[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, at, right=True).squeeze(1).clamp_(max=weights.shape[1] - 1)


def numbers(length: int, *keys: int | Tensor) -> Iterator[Tensor]:
    """Yield the uniform numbers of every position below ``length``, float64 [B]; many are made at once.

    Each is ``noise.uniform(*keys, position)``. With (seed, images) for keys, int64 [B], a sample depends neither
    on the batch that it is drawn in nor on the order of drawing.
    """
    for positions in torch.arange(length).split(256):
        yield from noise.uniform(*keys, positions[:, None])


def candidate_numbers(length: int, seed: int, images: Tensor, candidates: int) -> Iterator[Tensor]:
    """Yield the uniform numbers of each position, float64 [B * M]: each candidate has a seed of its own."""
    seeds = noise.random_bits(seed, torch.arange(candidates))
    seeds[0] = seed  # a single candidate is the image itself
    return numbers(length, seeds.repeat(len(images)), images.repeat_interleave(candidates))


@dataclass(frozen=True)
class Controls:
    """What bends a prior's distribution while codes are drawn; the defaults leave it as it is.

    Attributes:
        temperature: 0 or more; divides the logits. 0 takes the likeliest code.
        top_k: keep the k likeliest codes alone; 1 or more, or None.
        top_p: keep the fewest codes whose probabilities reach this sum, in (0, 1]; or None.
        guidance: how strongly labels act, see ``stepper``; 1 is the prior itself.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0

    def check(self, *, classes: bool) -> None:
        """Raise ValueError for a control out of its range; ``classes`` is whether there are labels to guide by."""
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature}: must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k {self.top_k}: must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: must be above 0 and at most 1")
        if not isfinite(self.guidance):
            raise ValueError(f"guidance {self.guidance}: must be a finite number")
        check_guidance(self.guidance, classes=classes)

    def pick(self, logits: Tensor, u: Tensor) -> Tensor:
        """Draw codes, int64 [B], of logits [B, K], each at its uniform number, float64 [B]."""
        here = logits.cpu() if logits.device.type == "mps" else logits  # no float64 there
        if self.temperature == 1.0 and self.top_k is None and self.top_p is None:
            weights = (here - here.amax(1, keepdim=True)).exp_()  # in the logits' own precision: half the time
        else:
            weights = restrict(here, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        return invert(weights, u.to(here.device)).to(logits.device)


PLAIN = Controls()


def sample(
    prior: Prior,
    num: int,
    *,
    seed: int = 0,
    controls: Controls = PLAIN,
    labels: Tensor | None = None,
    grid: tuple[int, int] | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    progress: Callable[[int], object] = lambda positions: None,
    first: int = 0,
    candidates: int = 1,
) -> Tensor:
    """Draw ``num`` grids of codes from a prior, through its cache.

    Image i is a function of (seed, i, its label): the same at any batch size, and the first images of a larger
    number are those of a smaller one.

    With M > 1 ``candidates``, M are drawn for each image, and the one is kept that tells its class best: of the
    largest log p(codes | class) - log p(codes), which by Bayes' rule is log p(class | codes) up to a constant.
    Classes come out clearer and images less varied, for M times the time; candidate 0 is the image of M = 1.

    Args:
        prior: in eval mode.
        num: how many.
        seed: of the whole set.
        controls: temperature, top_k, top_p, guidance.
        labels: int64 [num] classes, or None.
        grid: (h, w); the prior's own by default.
        batch_size: images drawn side by side.
        device: where the codes are put; by default where the prior is.
        progress: called with the number of codes drawn in each step, for a progress bar.
        first: the index of the first image in the set; those drawn are first .. first + num - 1.
        candidates: M, drawn for each image.

    Returns:
        int64 [num, h, w, n].

    Raises:
        ValueError: for a control out of its range, and for guidance or candidates without labels.
    """
    controls.check(classes=has_classes(prior, labels))
    check_candidates(candidates, classes=has_classes(prior, labels))
    h, w = grid or prior.spec.grid
    batches: list[Tensor] = []
    with torch.inference_mode():  # at a batch of one a tenth faster than no_grad
        for images in torch.arange(num).split(max(1, batch_size // candidates)):
            rows = images.repeat_interleave(candidates)
            part = None if labels is None else labels.cpu()[rows]
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
    return torch.cat(batches).to(device)  # out here: codes that autograd may save


def check_candidates(candidates: int, *, classes: bool) -> None:
    """Raise ValueError for less than one candidate, and for several where there are no classes to choose by."""
    if candidates < 1:
        raise ValueError(f"candidates {candidates}: must be 1 or more")
    if candidates > 1 and not classes:
        raise ValueError(f"candidates {candidates}: needs labels, and a prior that was trained with classes")


@torch.no_grad()
def class_evidence(prior: Prior, codes: Tensor, labels: Tensor) -> Tensor:
    """Return log p(codes | label) - log p(codes) in nats, float64 [B], of codes [B, h, w, n] and labels [B]."""

    def log_p(part: Tensor, own: Tensor | None) -> Tensor:
        log_p = prior(part, own).double().log_softmax(-1).gather(-1, part[..., None])
        return log_p.flatten(1).sum(1)

    few = zip(codes.split(8), labels.to(codes.device).split(8), strict=True)
    return torch.cat([log_p(part, own) - log_p(part, None) for part, own in few]).cpu()


@torch.no_grad()
def sample_naively(
    prior: Prior, num: int, *, seed: int = 0, labels: Tensor | None = None, batch_size: int = 64
) -> Tensor:
    """Draw as ``sample`` does with a whole forward pass for every code: slow, and the judge of the cache."""
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
