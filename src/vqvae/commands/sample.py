"""Draw images from a prior and lay them out."""

import torch
from PIL import Image
from torch import Tensor

from vqvae.commands.controls import check_controls, chosen_controls
from vqvae.commands.resolve import PriorRun, check_at_least_1, sample_labels
from vqvae.errors import ArgumentError
from vqvae.progress import Progress, advancing, silent
from vqvae.report.pictures import grid
from vqvae.sampling import Controls, PriorProtocol, Windowed, sample
from vqvae.screen import say
from vqvae.tensors import pixels_from_images

_BATCH = 256
_COLUMNS = 8


def sample_picture(
    run: PriorRun,
    *,
    num: int,
    label: str | None = None,
    seed: int = 0,
    controls: Controls | None = None,
    candidates: int = 1,
    size: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Image.Image:
    """Draw images from a prior and lay them out in a grid; the arguments are those of ``sample_pixels``.

    Raises:
        ArgumentError: as ``sample_pixels``.
    """
    pixels = sample_pixels(
        run,
        num=num,
        label=label,
        seed=seed,
        controls=controls,
        candidates=candidates,
        size=size,
        progress=progress,
    )
    columns = _COLUMNS if num % _COLUMNS == 0 and num <= _COLUMNS**2 else None
    return grid(pixels, columns=columns)


def sample_pixels(
    run: PriorRun,
    *,
    num: int,
    label: str | None = None,
    seed: int = 0,
    controls: Controls | None = None,
    candidates: int = 1,
    size: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Tensor:
    """Draw images from a prior, uint8 [num, C, H, W].

    Args:
        run: the prior and its tokenizer.
        num: number of images.
        label: the name or number of a class; None takes all classes in turn, see ``labels_in_turn``.
        seed: seed of the whole set: image i is a function of (seed, i, its class).
        controls: temperature, top_k, top_p, guidance; None takes the controls of the run.
        candidates: number of samples per image; the one with the highest likelihood ratio for its class is kept.
        size: height and width of the images in pixels; by default, those of the prior's training images. Larger
            images are drawn in windows of that size, see ``Windowed``.
        progress: called with the number of codes drawn so far and the number of all codes.

    Raises:
        ArgumentError: for an unknown class, or a value out of its range.
    """
    check_at_least_1(num=num)
    controls = chosen_controls(run.controls) if controls is None else controls
    labels = sample_labels(label, range(num), run.prior)
    check_controls(controls, labels, candidates)
    prior = _prior_over(run, size)
    codes = sample(
        prior,
        num,
        seed=seed,
        controls=controls,
        candidates=candidates,
        labels=labels,
        device=run.device,
        progress=advancing(progress, candidates * num * prior.spec.codes_per_image),
    )
    return _decoded(run, codes)


def _prior_over(run: PriorRun, size: tuple[int, int] | None) -> PriorProtocol:
    """Return the prior over the codes of images of a size; one line says so if they are drawn in windows."""
    prior = run.prior.model
    if size is None:
        return prior
    factor = run.tokenizer.model.factor
    if any(side < factor or side % factor for side in size):
        given = "x".join(map(str, size))
        raise ArgumentError("size", f"{given}: height and width must be multiples of {factor}")
    grid = size[0] // factor, size[1] // factor
    if grid == prior.spec.grid:
        return prior
    trained = "x".join(map(str, prior.spec.grid))
    say(f"the prior was trained on {trained} codes: larger grids are drawn in windows of {trained}")
    return Windowed(prior, grid)


def _decoded(run: PriorRun, codes: Tensor) -> Tensor:
    """Return the pixels of codes, uint8 [N, C, H, W]."""
    return torch.cat([pixels_from_images(run.tokenizer.model.decode(part)).cpu() for part in codes.split(_BATCH)])
