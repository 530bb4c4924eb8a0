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


@torch.no_grad()
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
) -> Tensor:
    """Draw ``num`` grids of codes from a prior, through its cache.

    Image i is a function of (seed, i, its label): the same at any batch size, and the first images of a larger
    number are those of a smaller one.

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

    Returns:
        int64 [num, h, w, n].

    Raises:
        ValueError: for a control out of its range, or guidance without labels.
    """
    controls.check(classes=has_classes(prior, labels))
    h, w = grid or prior.grid
    batches: list[Tensor] = []
    for images in torch.arange(num).split(batch_size):
        part = None if labels is None else labels.cpu()[images]
        step = stepper(prior, len(images), (h, w), labels=part, guidance=controls.guidance)
        codes: list[Tensor] = []
        for u in numbers(h * w * prior.codes_per_position, seed, first + images):
            logits = step(codes[-1] if codes else None)
            codes.append(controls.pick(logits, u))
            progress(len(images))
        batches.append(torch.stack(codes, 1).view(-1, h, w, prior.codes_per_position))
    return torch.cat(batches).to(device)


@torch.no_grad()
def sample_naively(
    prior: Prior, num: int, *, seed: int = 0, labels: Tensor | None = None, batch_size: int = 64
) -> Tensor:
    """Draw as ``sample`` does with a whole forward pass for every code: slow, and the judge of the cache."""
    h, w = prior.grid
    codes = torch.zeros(num, h, w, prior.codes_per_position, dtype=torch.int64)
    for images in torch.arange(num).split(batch_size):
        part, own_labels = codes[images], None if labels is None else labels[images]
        for place, u in zip(_raster(*part.shape[1:]), numbers(part[0].numel(), seed, images), strict=True):
            logits = prior(part, own_labels)[:, *place]
            part[:, *place] = PLAIN.pick(logits, u)
        codes[images] = part
    return codes


def _raster(h: int, w: int, n: int) -> Iterator[tuple[int, int, int]]:
    return ((row, column, depth) for row in range(h) for column in range(w) for depth in range(n))
