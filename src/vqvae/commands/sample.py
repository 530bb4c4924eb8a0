"""Draw images from a prior and lay them out."""

import torch
from PIL import Image
from tqdm import tqdm

from vqvae.commands.resolve import check_flags, open_prior_run
from vqvae.errors import UserError
from vqvae.report.pictures import grid
from vqvae.sampling import PLAIN, Controls, sample
from vqvae.tensors import pixels_from_images


def sample_picture(
    path: str,
    *,
    num: int,
    label: str | None,
    seed: int = 0,
    controls: Controls = PLAIN,
    candidates: int = 1,
    device: str = "auto",
) -> Image.Image:
    """Draw images from a prior's run and lay them out in a grid.

    Args:
        path: the prior's run directory.
        num: how many.
        label: a class's name or number; None takes all classes in turn.
        seed: of ``vqvae.sampling.sample``.
        controls: of the same.
        candidates: of the same.
        device: where to run.

    Raises:
        UserError: for a path that is no prior's run, an unknown class, or a control out of its range.
    """
    if num < 1:
        raise UserError(f"--num {num}: must be 1 or more")
    run = open_prior_run(path, device)
    prior, labels = run.prior, run.label_rows(num, label)
    if labels is None and prior.num_classes:
        labels = torch.arange(num) // 8 % prior.num_classes
    check_flags(controls, labels, candidates)
    total = candidates * num * prior.spec.codes_per_image
    with tqdm(total=total, desc="sample", unit="code", leave=False, disable=None) as bar:
        codes = sample(
            prior,
            num,
            seed=seed,
            controls=controls,
            candidates=candidates,
            labels=labels,
            device=run.device,
            progress=bar.update,
        )
    pixels = [pixels_from_images(run.tokenizer.decode(part)).cpu() for part in codes.split(256)]
    return grid(torch.cat(pixels), columns=8 if num % 8 == 0 and num <= 64 else None)
