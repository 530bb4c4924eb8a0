"""Measure a run and keep the results in it."""

from pathlib import Path

from vqvae.commands.evaluate import Results, evaluate
from vqvae.commands.resolve import load_for
from vqvae.files import write_json
from vqvae.metrics.baselines import load_counts
from vqvae.model_io import choose_device, open_prior, open_tokenizer, read_model
from vqvae.run_directory import RunDirectory


def evaluate_run(
    path: str, spec: str, *, split: str = "test", device: str = "auto", progress: bool = False
) -> Results:
    """Measure a run's tokenizer, and its prior where it is a prior's run; keep the results in evaluation.json.

    Raises:
        UserError: for a path that is no run, or data that the tokenizer does not fit.
    """
    run = RunDirectory(Path(path))
    file, on = read_model(path), choose_device(device)
    prior = open_prior(file, device=on).model if file.card.stage == "prior" else None
    tokenizer = open_tokenizer(path if prior is not None else file, device=on).model
    images, fit = load_for(path, tokenizer, spec, split)
    counts = load_counts(run.code_counts) if prior is not None else None
    results, chosen = evaluate(
        tokenizer, images, prior=prior, counts=counts, device=on, progress=progress, fit=fit
    )
    if run.path.is_dir():
        write_json(run.evaluation, {"results": results.to_dict(), "counts": chosen.tolist()})
    return results
