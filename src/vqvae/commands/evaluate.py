"""Measure a run's tokenizer, and its prior where it has one."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from vqvae.commands.resolve import load_for
from vqvae.files import write_json
from vqvae.metrics import Models, Results, measure
from vqvae.metrics.baselines import load_counts
from vqvae.model_io import choose_device, open_prior, open_tokenizer, read_model
from vqvae.run_directory import RunDirectory


def evaluate(
    path: str,
    spec: str,
    *,
    split: str = "test",
    device: str = "auto",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Results:
    """Measure a run's models on a split of a data set, and keep the results in the run's ``evaluation.json``.

    Args:
        path: a run directory or a model file.
        spec: the data set.
        split: ``train`` or ``test``.
        device: where to run.
        progress: called with the number of images measured and of all images.

    Raises:
        UserError: for a path that is no run, or data that the tokenizer does not fit.
    """
    run = RunDirectory(Path(path))
    file, on = read_model(path), choose_device(device)
    prior = open_prior(file, device=on).model if file.card.stage == "prior" else None
    tokenizer = open_tokenizer(path if prior is not None else file, device=on).model
    images, fit = load_for(path, tokenizer, spec, split)
    counts = load_counts(run.code_counts) if prior is not None else None
    results = measure(Models(tokenizer, prior, counts), images, fit=fit, progress=progress)
    results = replace(results, protocol={**results.protocol, "versions": _versions()})
    if run.path.is_dir():
        write_json(run.evaluation, {"results": results.to_dict(), "counts": results.code_counts.tolist()})
    return results


def _versions() -> dict[str, str]:
    from vqvae import __version__

    return {"vqvae": __version__, "torch": torch.__version__, "python": platform.python_version()}
