"""Drawing codes from a prior, one after the other."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vqvae import noise
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


def draw(probabilities: Tensor, seed: int, images: Tensor, position: int) -> Tensor:
    """Draw a code for each image by inverting the distribution function at a uniform number.

    The number is a function of (seed, image, position), so a sample depends neither on the batch that it is
    drawn in nor on the order of drawing.

    Args:
        probabilities: float64 [B, K].
        seed: of the whole set of samples.
        images: int64 [B], the index of each image in the set.
        position: of the code in its image.

    Returns:
        int64 [B].
    """
    cumulative = probabilities.cumsum(1)
    u = noise.uniform(seed, images, position)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, u, right=True).squeeze(1).clamp_(max=probabilities.shape[1] - 1)


def check_controls(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError unless temperature >= 0, top_k >= 1 and 0 < top_p <= 1."""
    if not temperature >= 0:
        raise ValueError(f"temperature {temperature}: must be 0 or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k {top_k}: must be 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p {top_p}: must be above 0 and at most 1")


@torch.no_grad()
def sample(
    prior: Prior,
    num: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    labels: Tensor | None = None,
    grid: tuple[int, int] | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Callable[[int], object] = lambda positions: None,
) -> Tensor:
    """Draw ``num`` grids of codes from a prior, through its cache.

    Image i is a function of (seed, i, its label): the same at any batch size, and the first images of a larger
    number are those of a smaller one.

    Args:
        prior: in eval mode.
        num: how many.
        seed: of the whole set.
        temperature: 1 samples the distribution itself, 0 takes the likeliest code.
        top_k: keep the k likeliest codes alone.
        top_p: keep the likeliest codes up to this mass.
        labels: int64 [num] classes, or None.
        grid: (h, w); the prior's own by default.
        batch_size: images drawn side by side.
        device: the prior's.
        progress: called with the number of codes drawn in each step, for a progress bar.

    Returns:
        int64 [num, h, w, n].
    """
    check_controls(temperature, top_k, top_p)
    h, w = grid or prior.grid
    out = torch.empty(num, h * w * prior.codes_per_position, dtype=torch.int64, device=device)
    for images in torch.arange(num, device=device).split(batch_size):
        cache = prior.start(len(images), (h, w), None if labels is None else labels.to(device)[images])
        previous = None
        for position in range(out.shape[1]):
            logits = prior.step(cache, previous)
            if logits.device.type == "mps":  # no float64 there
                logits = logits.cpu()
            probabilities = restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p)
            previous = draw(probabilities, seed, images.to(logits.device), position).to(device)
            out[images, position] = previous
            progress(len(images))
    return out.view(num, h, w, prior.codes_per_position)


@torch.no_grad()
def sample_naively(prior: Prior, num: int, *, seed: int = 0, labels: Tensor | None = None) -> Tensor:
    """Draw as ``sample`` does with a whole forward pass for every code: slow, and the judge of the cache."""
    h, w = prior.grid
    codes = torch.zeros(num, h, w, prior.codes_per_position, dtype=torch.int64)
    for position, (row, column, depth) in enumerate(_raster(h, w, prior.codes_per_position)):
        logits = prior(codes, labels)[:, row, column, depth]
        codes[:, row, column, depth] = draw(restrict(logits), seed, torch.arange(num), position)
    return codes


def _raster(h: int, w: int, n: int) -> Iterator[tuple[int, int, int]]:
    return ((row, column, depth) for row in range(h) for column in range(w) for depth in range(n))
