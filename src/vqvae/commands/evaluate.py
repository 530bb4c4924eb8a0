"""Measure a run's tokenizer, and its prior where the run has one; or a tokenizer in Python."""

import platform
from dataclasses import replace

import torch

from vqvae.commands.judges import judge_of
from vqvae.commands.resolve import PriorRun, TokenizerRun, labels_by_name, load_for
from vqvae.data import ImageSet, Objects
from vqvae.errors import what_failed
from vqvae.features import network_named
from vqvae.files import write_json
from vqvae.metrics import Models, Results, measure
from vqvae.metrics.baselines import load_counts
from vqvae.metrics.lpips import lpips_network
from vqvae.models import VQVAE
from vqvae.models.eval_mode import eval_mode
from vqvae.progress import Progress, silent
from vqvae.run_directory import RunDirectory
from vqvae.screen import say
from vqvae.version import VERSION


def evaluate(
    run: TokenizerRun,
    data: str | Objects,
    *,
    split: str = "test",
    features: str | None = None,
    lpips: tuple[str, str] | None = None,
    progress: Progress = silent,
) -> Results:
    """Measure a run's models on a split of a data set, and keep the results in the run's ``evaluation.json``.

    Where the file cannot be written, one line says so, and the results are returned all the same.

    Args:
        run: the models. A prior is measured with its tokenizer.
        data: the data set's spec, or an object as ``vqvae.data.load`` takes it.
        split: ``train``, ``validation`` or ``test``.
        features: the feature network in which reconstructions are judged as a set, as ``network_named`` takes it.
            None: they are not, as the features of 10,000 images cost more time than all other metrics.
        lpips: the network that measures LPIPS, as ``network_named`` takes it, and the path of the factors of its
            channels; None for no LPIPS.
        progress: called with the number of images measured and of all images.

    Raises:
        UserError: for data that the tokenizer does not fit, classes that the prior was not trained on, and a
            network that took part in the tokenizer's training.
    """
    directory = RunDirectory(run.path)
    models = Models(run.tokenizer.model, features=None if features is None else judge_of(run, features))
    if isinstance(run, PriorRun):
        models = replace(models, prior=run.prior.model, code_counts=load_counts(directory.code_counts))
    images, fit = load_for(run, data, split)
    if lpips is not None:
        network = judge_of(run, lpips[0], "--lpips")
        models = replace(models, lpips=lpips_network(network, lpips[1], images.shape))
    results = measure(models, _for_prior(images, run), fit=fit, progress=progress)
    hashes = {"tokenizer": run.tokenizer.hash} | ({"prior": run.prior.hash} if isinstance(run, PriorRun) else {})
    more = {"fingerprint": images.fingerprint, "models": hashes, "versions": versions()}
    results = replace(results, protocol={**results.protocol, **more})
    if directory.path.is_dir() and not directory.published.exists():  # a published model is not changed
        _keep(results, run, directory)
    return results


def evaluate_model(
    model: VQVAE,
    images: ImageSet,
    *,
    fit: str,
    features: str | None,
    lpips: tuple[str, str] | None,
    progress: Progress = silent,
) -> Results:
    """Measure a tokenizer in Python, on its device, in eval mode.

    Args:
        model: the tokenizer. If its ``pixel_variance`` was never estimated, one line says which metrics are wrong.
        images: the images.
        fit: how the images were brought to one size, for the protocol.
        features: as ``evaluate`` takes it.
        lpips: as ``evaluate`` takes it.
        progress: as ``evaluate`` takes it.
    """
    if float(model.pixel_variance) == 1:
        say(
            "the model's pixel_variance was never estimated, so nmse and bits per dimension cannot be compared "
            "with other models: measure the file that vqvae.save writes"
        )
    device = model.pixel_variance.device
    judge = None if features is None else network_named(features).to(device)
    distance = None
    if lpips is not None:
        distance = lpips_network(network_named(lpips[0]).to(device), lpips[1], images.shape)
    with eval_mode(model):
        return measure(Models(model, features=judge, lpips=distance), images, fit=fit, progress=progress)


def _keep(results: Results, run: TokenizerRun, directory: RunDirectory) -> None:
    """Write ``evaluation.json``; where the run cannot be written to, say so, and the results are still printed."""
    if isinstance(run, PriorRun) and run.tokenizer.path.resolve() != directory.tokenizer.resolve():
        say(f"the results are not kept in the run: they are of another tokenizer, {run.tokenizer.path}")
        return
    try:
        write_json(directory.evaluation, {"results": results.to_dict(), "counts": results.code_counts.tolist()})
    except OSError as error:
        say(f"the results are not kept in the run: {what_failed(error)}")


def _for_prior(images: ImageSet, run: TokenizerRun) -> ImageSet:
    """Return the images, labelled with the prior's numbers of their classes; say where they have no classes."""
    if not isinstance(run, PriorRun) or not run.prior.card.classes:
        return images
    labels = labels_by_name(images, run.prior)
    if labels is None:
        say(f"{images.spec}: its {images.split} images have no classes: the prior is measured without")
    return replace(images, labels=labels, classes=run.prior.card.classes)


def versions() -> dict[str, str]:
    """Return the versions that figures may depend on."""
    return {"vqvae": VERSION, "torch": torch.__version__, "python": platform.python_version()}
