"""Whole measurements and pictures: from what the command line names to what it shows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from vqvae.errors import UserError
from vqvae.evaluation.evaluate import Results, evaluate
from vqvae.evaluation.floors import load_counts
from vqvae.evaluation.inputs import check_flags, images_named, load_for, open_prior
from vqvae.evaluation.pictures import grid, pairs
from vqvae.files import write_json
from vqvae.hub import choose_device, load_prior, load_tokenizer, read_model
from vqvae.sampling import PLAIN, Controls, sample
from vqvae.tensors import images_from_pixels, pixels_from_images


def evaluate_run(
    path: str, spec: str, *, split: str = "test", device: str = "auto", progress: bool = False
) -> Results:
    """Measure a run's tokenizer, and its prior where it is a prior's run; keep the results in evaluation.json.

    Raises:
        UserError: for a path that is no run, or data that the tokenizer does not fit.
    """
    card, _ = read_model(path)
    on = choose_device(device)
    tokenizer = load_tokenizer(path, device=on)
    prior = load_prior(path, device=on) if card.stage == "prior" else None
    images, fit = load_for(path, tokenizer, spec, split)
    counts = load_counts(Path(path)) if prior is not None else None
    results, chosen = evaluate(
        tokenizer, images, prior=prior, counts=counts, device=on, progress=progress, fit=fit
    )
    if Path(path).is_dir():
        write_json(Path(path) / "evaluation.json", {"results": results.to_dict(), "counts": chosen.tolist()})
    return results


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
    run = open_prior(path, device)
    prior, labels = run.prior, run.label_rows(num, label)
    if labels is None and prior.num_classes:
        labels = torch.arange(num) // 8 % prior.num_classes
    check_flags(controls, labels, candidates)
    total = candidates * num * prior.grid[0] * prior.grid[1] * prior.codes_per_position
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


def reconstruction_picture(path: str, names: Sequence[str], *, device: str = "auto") -> Image.Image:
    """Lay images out above their reconstructions.

    Args:
        path: a run directory with a tokenizer.
        names: image files, or one data spec, of whose test split the first 32 images are shown.
        device: where to run.

    Raises:
        UserError: for a path that is no run, or images that do not fit.
    """
    on = choose_device(device)
    tokenizer = load_tokenizer(path, device=on)
    pixels = images_named(path, tokenizer, names)
    codes = tokenizer.encode(images_from_pixels(pixels.to(on)))
    return pairs(pixels, pixels_from_images(tokenizer.decode(codes)).cpu())
