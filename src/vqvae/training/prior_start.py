"""Prepare the training of a prior: its recipe, its tokenizer, and the codes of both splits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vqvae.config import PriorConfig, Recipe, RunConfig, load_config, to_mapping
from vqvae.data import Augmentation
from vqvae.distributed import in_turn, local_rank, rank
from vqvae.errors import UserError
from vqvae.metrics.baselines import save_counts
from vqvae.model_io import ModelFile, Opened, read_tokenizer_alone
from vqvae.models import VQVAE
from vqvae.paths import whole_spec
from vqvae.published import data_around
from vqvae.screen import say
from vqvae.training.code_cache import CodeOrigin, CodeSet, code_set
from vqvae.training.engine import Engine
from vqvae.training.prior import PriorStage
from vqvae.training.run import Run
from vqvae.training.run_data import RunData
from vqvae.training.store_data import StoreData, check_codes_alone, is_store


def prior_config(tokenizer: str | ModelFile | None, recipe: Recipe, overrides: Mapping[str, Any]) -> RunConfig:
    """Read a prior's recipe. Settings of the data that it does not have are taken from the tokenizer's run.

    So by default, a prior is measured on the validation images of its tokenizer. Neither was trained on them. For
    other data, ``label`` and ``limit`` are not taken over: they say which part of the tokenizer's data was read.

    Args:
        tokenizer: the tokenizer's run directory or model file, or the model file that was read already. None for
            a prior of codes alone: the data are then a store.
        recipe: the recipe, as ``load_config`` takes it.
        overrides: values of keys, as ``load_config`` takes them.

    Raises:
        UserError: as ``load_config``, and when there is no tokenizer at the path.
    """
    if tokenizer is None:
        return _of_codes_alone(recipe, overrides)
    file = tokenizer if isinstance(tokenizer, ModelFile) else read_tokenizer_alone(tokenizer)
    card = file.card
    if card.stage != "tokenizer":
        raise UserError(f"{file.path}: a {card.stage}, not a tokenizer; give the tokenizer's run")
    data = data_around(file.path)
    base: dict[str, Any] = {} if data is None else to_mapping(data)
    base["channels"] = card.image_shape[0]
    settings = {"tokenizer": str(file.path), **overrides}
    config = load_config(recipe, "prior", settings, base=base)
    if not config.data.spec:
        raise UserError(f"{file.path}: it does not say which images it was trained on: pass --data")
    if whole_spec(config.data.spec) == base.get("spec"):
        return config
    base |= {"label": None, "limit": None}
    if is_store(config.data.spec):
        base |= {"flip": False, "crops": 0}  # of a store, only the recipe can ask for them, and is refused
    return load_config(recipe, "prior", settings, base=base)


def _of_codes_alone(recipe: Recipe, overrides: Mapping[str, Any]) -> RunConfig:
    config = load_config(recipe, "prior", {**overrides, "tokenizer": ""})
    check_codes_alone(config.data.spec)
    return config


def conditioned(config: PriorConfig, data: RunData | StoreData) -> PriorConfig:
    """Return the config with ``classes`` decided: ``auto`` is true for training images of two classes or more.

    Raises:
        UserError: for ``classes`` true, when the training images have no classes or validation images have others.
    """
    if config.classes == "auto":
        several = data.train.labels is not None and len(data.train.classes) > 1
        config = replace(config, classes=several)
    if not config.classes:
        return config
    where, known, labels = config.data.spec, len(data.train.classes), data.validation.labels
    if data.train.labels is None:
        raise UserError(f"{where}: its images have no classes; set --classes false")
    if labels is not None and len(labels) and int(labels.max()) >= known:
        other = data.validation.classes[int(labels.max())]
        raise UserError(
            f"{where}: validation images have the class '{other}', which no training image has: set --classes "
            f"false, or remove them"
        )
    return config


def prior_stage(
    config: PriorConfig,
    data: RunData | StoreData,
    engine: Engine,
    *,
    run: Run,
    tokenizer: Opened[VQVAE] | None,
    init: ModelFile | None = None,
) -> PriorStage:
    """Encode both splits, or take their codes from the cache or the store, and make the stage.

    The counts of the training codes are written to the run. The unigram baselines are printed. Without a
    tokenizer, the data are a store, and training draws no pictures of samples.

    Raises:
        UserError: when the tokenizer is for images with another number of channels.
    """
    if isinstance(data, StoreData):
        train, validation = data.train.as_code_set(), data.validation.as_code_set()
        origin = data.origin._replace(tokenizer=tokenizer and tokenizer.model)
    else:
        assert tokenizer is not None, "images are encoded by a tokenizer"
        train, validation = _encoded(config, data, engine, tokenizer)
        origin = CodeOrigin(tokenizer.card.identity, tokenizer.model.num_codes, tokenizer.model)
    stage = PriorStage(config, train, validation, engine, origin, init)
    if rank() == 0:
        if tokenizer is None:
            say(f"codes alone: no pictures of samples; vqvae sample {run.path} --store DIR draws codes")
        save_counts(run.code_counts, stage.counts)
        blindness = config.model.blindness(stage.prior.spec.grid)
        if blindness:
            say(blindness)
        if stage.controls.guidance != 1 and config.class_dropout == 0:
            need = "which sampling.guidance needs: --class_dropout 0.1"
            say(f"the prior does not learn codes without a class, {need}")
        baselines = ", ".join(f"{name} {bits:.4g}" for name, bits in stage.baselines.items())
        say(f"baselines that a prior must beat: {baselines}")
    return stage


def _encoded(
    config: PriorConfig, data: RunData, engine: Engine, tokenizer: Opened[VQVAE]
) -> tuple[CodeSet, CodeSet]:
    channels = tokenizer.model.channels
    if channels != data.train.shape[0]:
        raise UserError(
            f"{config.data.spec}: images of {data.train.shape[0]} channels, but the tokenizer is for {channels}: "
            f"set --data.channels {channels}"
        )
    views = config.data.augmentation(config.training.seed)
    with in_turn(local_rank() == 0):  # the first rank of a host fills the cache, then the others read it
        train, validation = (
            code_set(tokenizer.model, tokenizer.card.identity, images, views=seen, device=engine.device)
            for images, seen in ((data.train, views), (data.validation, Augmentation()))
        )
    return train, validation
