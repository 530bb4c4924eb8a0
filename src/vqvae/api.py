"""The functions of ``import vqvae``, for scripts and notebooks.

Each function does what the command of the same name does. Paths may be relative. A mistake of the caller raises a
``UserError``, whose message is one line.
"""

from dataclasses import replace
from os import PathLike
from typing import Any, Literal, cast

import torch
from PIL.Image import Image

from vqvae.commands.controls import chosen_controls
from vqvae.commands.evaluate import evaluate as evaluate_run
from vqvae.commands.evaluate import evaluate_model
from vqvae.commands.publish import Pushed, push
from vqvae.commands.resolve import open_prior_run, open_run
from vqvae.commands.sample import sample_picture
from vqvae.config import DataConfig, Recipe, full_keys, load_config, read_otherwise, recipe_name
from vqvae.data import OBJECT, Objects
from vqvae.errors import UserError
from vqvae.metrics import Results
from vqvae.model_io import open_prior, open_tokenizer, read_model, read_tokenizer_alone
from vqvae.model_place import is_hub_repo, name_of_model, whole_model
from vqvae.models import VQVAE
from vqvae.paths import whole_path, whole_spec
from vqvae.priors import Prior
from vqvae.progress import bar
from vqvae.training import Run, prior_config
from vqvae.training import resume as resume_run
from vqvae.training import train as start_run

Location = str | PathLike[str]
Data = str | PathLike[str] | Objects


def train(
    recipe: Recipe,
    *,
    data: Data | None = None,
    out: Location | None = None,
    init: Location | None = None,
    **settings: Any,
) -> Run:
    """Train a tokenizer; return its run.

    Args:
        recipe: the name of a shipped recipe, the path of a YAML file, a mapping of its keys, or a config.
        data: the images; by default, the images of the recipe. A path, a name such as ``cifar10``, an array, a
            torch or Hugging Face ``Dataset``, or any other data that ``load_images`` takes.
        out: the run directory to make; by default ``runs/RECIPE``, or the next free name.
        init: the trained tokenizer to start from, a run or a model file; see the recipe key ``init``.
        **settings: values of recipe keys, which ``vqvae train --help`` lists. ``steps``, ``device``, ``precision``
            and ``strict`` are short names. Any other key is written with two underscores for each dot, such as
            ``training__batch_size=64``, or as ``**{"training.batch_size": 64}``.

    Raises:
        UserError: for every mistake that the caller can mend; if possible, before anything is written.
        Interrupted: a KeyboardInterrupt, when training was interrupted; everything is saved, and ``resume``
            continues the run.
    """
    spec, images = _split(data)
    config = load_config(recipe, "tokenizer", {**full_keys(settings), **spec, **_init(init)})
    return start_run(config, out=_made_whole(out), name=recipe_name(recipe), data=images)


def train_prior(
    tokenizer: Location | None,
    recipe: Recipe = "cifar10-prior",
    *,
    data: Data | None = None,
    out: Location | None = None,
    init: Location | None = None,
    **settings: Any,
) -> Run:
    """Train a prior over the codes of a tokenizer; return its run.

    Args:
        tokenizer: the run or model file of a tokenizer. None trains on the codes of a store alone.
        recipe: the recipe, as ``train`` takes it.
        data: the images, as ``train`` takes them, or the path of a store of codes; by default, the images that the
            tokenizer was trained on.
        out: the run directory to make; by default ``runs/TOKENIZER-prior`` (without a tokenizer,
            ``runs/STORE-prior``), or the next free name.
        init: the trained prior to start from, a run or a model file; see the recipe key ``init``.
        **settings: values of recipe keys, as ``train`` takes them; ``vqvae prior --help`` lists the keys.

    Raises:
        UserError: as ``train``.
        Interrupted: as ``train``.
    """
    spec, images = _split(data)
    if images is not None:
        spec = {"data.spec": OBJECT}  # not the tokenizer's data
    file = None if tokenizer is None else read_tokenizer_alone(_location(tokenizer, "a tokenizer"))
    config = prior_config(file, recipe, {**full_keys(settings), **spec, **_init(init)})
    name = f"{name_of_model(config.data.spec if tokenizer is None else tokenizer)}-prior"
    return start_run(config, out=_made_whole(out), name=name, tokenizer=file, data=images)


def resume(run: Location, *, data: Data | None = None, **settings: Any) -> Run:
    """Continue a run from its newest checkpoint. Without settings, the run ends like an uninterrupted run.

    Args:
        run: the run, or its directory.
        data: the same training images, if they were moved or are an object in Python.
        **settings: new values of keys from here on, such as ``steps=20_000`` to train longer.

    Raises:
        UserError: when there is no run, its images have changed, or a key cannot change in a run that has begun.
        Interrupted: as ``train``.
    """
    spec, images = _split(data)
    return resume_run(whole_path(run), {**full_keys(settings), **spec}, data=images)


def evaluate(
    model: Location | VQVAE,
    data: Data,
    split: str = "test",
    *,
    features: str | None = None,
    lpips: tuple[str, str] | None = None,
    device: str = "auto",
    **reading: Any,
) -> Results:
    """Measure a tokenizer on a split of a data set; for a prior's run, measure the prior too.

    Args:
        model: a run or a model file; or a tokenizer in Python, which is measured where it is, in eval mode. Of a
            tokenizer whose ``pixel_variance`` was never estimated, one line says which metrics are wrong.
        data: the images, as ``train`` takes them.
        split: ``train``, ``validation`` or ``test``.
        features: the feature network in which reconstructions are judged as a set, such as ``judge``; none by
            default, as it costs more time than all other metrics.
        lpips: the network that measures LPIPS, such as ``alexnet:PATH``, and the path of its channels' factors.
        device: the device for the models of a run: ``auto``, ``cpu``, ``cuda``, ...
        **reading: settings for reading images that differ from the run's own, such as ``data__size=32,
            data__fit="crop"``.

    Raises:
        UserError: when there is no model, or the data do not fit it.
    """
    spec, images = _split(data)
    with bar("evaluate", "image") as progress:
        if isinstance(model, VQVAE):
            how = read_otherwise(DataConfig(channels=_channels(model)), full_keys(reading))
            found = replace(how, spec=spec.get("data.spec", how.spec))
            loaded = found.load(split, multiple_of=model.factor, data=images)
            return evaluate_model(model, loaded, fit=how.fit, features=features, lpips=lpips, progress=progress)
        run = open_run(_location(model, "a run"), device=device, reading=full_keys(reading))
        measured = images if images is not None else spec["data.spec"]
        return evaluate_run(run, measured, split=split, features=features, lpips=lpips, progress=progress)


def sample(
    prior: Location,
    num: int = 64,
    *,
    label: str | int | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float | None = None,
    candidates: int = 1,
    size: tuple[int, int] | None = None,
    tokenizer: Location | None = None,
    device: str = "auto",
) -> Image:
    """Draw new images from a prior; return them in a grid, which a notebook shows.

    If ``temperature``, ``top_k``, ``top_p`` and ``guidance`` are all None, the run's own ``sampling`` decides. If
    one of the four is given, the defaults of the other three change nothing: temperature 1, all codes, guidance 1.

    Args:
        prior: the run of a prior.
        num: number of images.
        label: a class, by name or number; by default, all classes in turn.
        seed: seed of the samples; image i is a function of the seed, i and its class.
        temperature: divides the prior's logits; 0 always takes the most likely code.
        top_k: draw only from the K most likely codes.
        top_p: draw only from the smallest set of most likely codes whose probabilities sum to at least ``top_p``.
        guidance: weight of classifier-free guidance; above 1, images show their class more clearly and vary less
            (arXiv 2207.12598).
        candidates: number of samples per image; the one with the highest likelihood ratio for its class is kept.
        size: height and width of the images in pixels; by default, the size of the training images.
        tokenizer: decodes the codes instead of the tokenizer in the prior's run: a run or model file with the same
            encoder and quantizer.
        device: the device to draw on.

    Raises:
        UserError: when there is no prior, for an unknown class, for a tokenizer of other codes, and for a value
            out of its range.
    """
    decodes = None if tokenizer is None else _location(tokenizer, "a tokenizer")
    run = open_prior_run(_location(prior, "a prior's run"), tokenizer=decodes, device=device)
    own = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    controls = chosen_controls(run.controls, **own)
    with bar("sample", "code") as progress:
        return sample_picture(
            run,
            num=num,
            label=None if label is None else str(label),
            seed=seed,
            controls=controls,
            candidates=candidates,
            size=size,
            progress=progress,
        )


def from_pretrained(
    name: Location, *, revision: str | None = None, device: torch.device | str = "cpu"
) -> VQVAE | Prior:
    """Load a model of the Hugging Face Hub, in eval mode: a prior if it holds one, otherwise a tokenizer.

    ``load_tokenizer("hf:OWNER/NAME")`` and ``load_prior("hf:OWNER/NAME")`` load one or the other. ``VQVAE`` and
    the priors have no ``from_pretrained`` of their own: networks know no paths.

    Args:
        name: OWNER/NAME; or a path, or the name of a model in this package, as ``load_tokenizer`` takes it.
        revision: a branch, a tag or a commit; by default the newest.
        device: the device of the model.

    Raises:
        UserError: when there is no such model or revision, the model cannot be reached and is not in the cache, or
            its file is damaged.
    """
    at = whole_model(name)
    if isinstance(name, str) and is_hub_repo(name):
        at = f"hf:{name}" + (f"@{revision}" if revision else "")
    elif revision is not None:
        raise UserError(f"{name}: only a model of the Hub, OWNER/NAME, has revisions")
    file = read_model(at)
    return (open_prior if file.card.stage == "prior" else open_tokenizer)(file, device=device).model


def push_to_hub(
    model: Location, repo: str, *, private: bool = False, license: str = "", half: bool = False
) -> Pushed:
    """Upload a model to the Hugging Face Hub, with a model card; a repository that does not exist is made.

    Args:
        model: the run or model file; a prior is uploaded with its tokenizer. ``vqvae.save`` makes such a file of a
            model in Python.
        repo: OWNER/NAME.
        private: whether a repository that is made is private.
        license: the licence of the weights, an SPDX identifier such as ``mit``.
        half: whether to upload a smaller copy: the decoder in float16, and the prior if it then draws the same
            codes in 64 samples.

    Raises:
        UserError: when there is no model, without permission to write, and when the Hub cannot be reached.
    """
    return push(_location(model, "a run"), repo, private=private, license=license, half=half)


def _split(data: Data | None) -> tuple[dict[str, str], Objects | None]:
    """Return a path or a name as a value by its recipe key, and any other data as an object."""
    if data is None:
        return {}, None
    if isinstance(data, str | PathLike):
        return {"data.spec": whole_spec(data)}, None
    return {}, data


def _init(model: Location | None) -> dict[str, str]:
    return {} if model is None else {"init": _location(model, "a run")}


def _made_whole(out: Location | None) -> str | None:
    return None if out is None else whole_path(out)


def _location(model: object, wanted: str) -> str:
    """Return the path or name of a model.

    Raises:
        UserError: for an object that is not a path.
    """
    if isinstance(model, str | PathLike):
        return whole_model(cast(Location, model))
    raise UserError(f"{type(model).__name__}: expected {wanted} or its path")


def _channels(model: VQVAE) -> Literal[1, 3]:
    return cast(Literal[1, 3], model.channels)
