"""Whole trainings: from a config to a finished run."""

import dataclasses
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vqvae.config import (
    Change,
    PriorConfig,
    Recipe,
    RunConfig,
    TokenizerConfig,
    changed,
    checked,
    load_config,
    to_mapping,
)
from vqvae.data import Augmentation, Images, ImageSet, describe, quiet_pil
from vqvae.distributed import barrier, broadcast, in_turn, local_rank, process_group, rank, world_size
from vqvae.errors import UserError
from vqvae.files import read_json, write_json
from vqvae.metrics.baselines import save_counts
from vqvae.model_io import ModelFile, Opened, open_tokenizer, read_model
from vqvae.models import VQVAE
from vqvae.paths import whole_spec
from vqvae.training.code_cache import code_set
from vqvae.training.engine import Engine
from vqvae.training.loop import Trainer
from vqvae.training.prior import PriorStage, keep_tokenizer
from vqvae.training.run import Run
from vqvae.training.stage import MODEL
from vqvae.training.tokenizer import TokenizerStage

_LOG = logging.getLogger(__name__)


def train(config: RunConfig, *, out: str | None, name: str, tokenizer: ModelFile | None = None) -> Run:
    """Start a new run and train it to its end.

    Args:
        config: of either stage.
        out: the run directory; None makes ``runs/name``, or the next free ``runs/name-2``, ...
        name: of the recipe.
        tokenizer: for a prior, the file at ``config.tokenizer`` where it was read already.

    Raises:
        UserError: for anything the user can mend, before anything is written where that is possible.
        Interrupted: after a signal, with everything saved.
    """
    config = checked(config, "config")
    if config.training.batch_size % config.training.accumulate:
        raise UserError(
            f"training.batch_size {config.training.batch_size} is not a multiple of "
            f"training.accumulate {config.training.accumulate}"
        )
    with process_group():
        engine = Engine.of(config.training)
        opened = None
        if isinstance(config, PriorConfig):
            tokenizer = tokenizer or read_model(config.tokenizer)
            config = dataclasses.replace(config, tokenizer=str(tokenizer.path.resolve()))
            opened = open_tokenizer(tokenizer, device=engine.device)
        config = dataclasses.replace(_with_whole_paths(config), training=engine.resolve(config.training))
        with _claimed(out, name) as run, run.report_failures():
            images = _load(config, opened)
            if rank() == 0:
                if tokenizer is not None:
                    keep_tokenizer(tokenizer, run)
                run.begin(config)
            barrier()
            _train(run, config, engine, *images, opened)
    return run


@contextmanager
def _claimed(out: str | None, name: str) -> Iterator[Run]:
    """Own a new run directory, rank 0 for all: the others are told which."""
    if rank():
        yield Run(Path(broadcast("")))
        return
    with Run.claimed(out, name) as run:
        broadcast(str(run.path.resolve()))
        yield run


def prior_config(tokenizer: str | ModelFile, recipe: Recipe, overrides: Mapping[str, Any]) -> RunConfig:
    """Read a prior's recipe; where it is silent on the data, they are the tokenizer's own.

    Args:
        tokenizer: its run directory or model file, or a model file of it that was read already.
        recipe: as ``load_config`` takes it.
        overrides: as those of ``load_config``.

    Raises:
        UserError: as ``load_config`` does, and when there is no tokenizer at the path.
    """
    file = tokenizer if isinstance(tokenizer, ModelFile) else read_model(tokenizer)
    card = file.card
    if card.stage != "tokenizer":
        raise UserError(f"{file.path}: a {card.stage}, not a tokenizer; give the tokenizer's run")
    base: dict[str, Any] = {}
    run = Run(file.path.parent)
    if run.exists:
        base = to_mapping(run.read_config().data)
    base["channels"] = card.image_shape[0]
    return load_config(recipe, "prior", {"tokenizer": str(file.path), **overrides}, base=base)


def resume(path: str, changes: Mapping[str, Any] | None = None) -> Run:
    """Continue a run from its newest checkpoint; without changes, exactly as if it had never stopped.

    Args:
        path: the run directory.
        changes: new values of keys from here on, as the overrides of ``load_config``. The run's config keeps them,
            and its ``changes.jsonl`` says at which step each was made.

    Raises:
        UserError: when there is no run at the path, its data have changed, its checkpoint does not fit, or a key
            cannot change in a run that has begun.
        Interrupted: after a signal, with everything saved.
    """
    with process_group(), Run.opened(path) as (run, before), run.report_failures():
        config, made = changed(before, changes or {}, str(run.path))
        engine = Engine.of(config.training)
        if made:
            config = dataclasses.replace(_with_whole_paths(config), training=engine.resolve(config.training))
        prior = isinstance(config, PriorConfig)
        tokenizer = open_tokenizer(run.tokenizer, device=engine.device) if prior else None
        _train(run, config, engine, *_load(config, tokenizer), tokenizer, made)
    return run


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """Make the data's path absolute, so that the run resumes from any folder."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, spec=whole_spec(config.data.spec)))


def _load(config: RunConfig, tokenizer: Opened[VQVAE] | None) -> tuple[Images, ImageSet]:
    multiple = (
        config.model.network.factor if isinstance(config, TokenizerConfig) else _given(tokenizer).model.factor
    )
    with in_turn(local_rank() == 0):  # the first of a host downloads, the others find it
        train = config.data.training_images(multiple)
        validation = config.data.validation_images(multiple, train=train)
    if train.shape != validation.shape:
        raise UserError(
            f"{config.data.spec}: images [C, H, W] are {list(train.shape)} in train, but "
            f"{list(validation.shape)} in validation; set --data.channels, --data.size and --data.fit crop"
        )
    if isinstance(config, PriorConfig) and config.classes and train.labels is None:
        raise UserError(f"{config.data.spec}: its images have no classes; set --classes false")
    if rank() == 0:
        print(f"{describe(train)}\n{describe(validation)}", file=sys.stderr, flush=True)
    for bad in [*train.bad, *validation.bad]:
        _LOG.warning("skipped %s: %s", bad.path, bad.reason)
    return train, validation


def _given(tokenizer: Opened[VQVAE] | None) -> Opened[VQVAE]:
    assert tokenizer is not None, "a prior's training is given its tokenizer"
    return tokenizer


def _train(
    run: Run,
    config: RunConfig,
    engine: Engine,
    train: Images,
    validation: ImageSet,
    tokenizer: Opened[VQVAE] | None,
    changes: Sequence[Change] = (),
) -> None:
    _check_same_data(run, train)
    precision = "bf16" if engine.bf16 else "fp32"
    if rank() == 0:
        write_json(run.data, _describe(train, validation))
        run.write_environment(
            device=str(engine.device),
            ranks=world_size(),
            precision=precision,
            compile=engine.compiled,
            shard=engine.sharded,
        )
    if isinstance(config, TokenizerConfig):
        stage: Any = TokenizerStage(config, train, validation, engine)
    else:
        stage = _prior_stage(run, config, train, validation, engine, _given(tokenizer))
    size = sum(p.numel() for p in stage.groups[MODEL].module.parameters())
    where = f"{world_size()} x {engine.device.type}" if world_size() > 1 else str(engine.device)
    where += " sharded" if engine.sharded else ""
    if rank() == 0:
        print(
            f"{run.path}: {config.stage}, {size:,} parameters, {len(train):,} images, "
            f"{config.training.steps} steps of {config.training.batch_size}, {where} {precision}",
            file=sys.stderr,
            flush=True,
        )
    with quiet_pil(), closing(train):  # a stream decodes as it is read, and ahead
        trainer = Trainer(stage, config.training, engine, run)
        if trainer.step > config.training.steps:
            raise UserError(f"training.steps {config.training.steps}: the run is at step {trainer.step} already")
        if changes and rank() == 0:
            run.change(config, trainer.step, changes)
        trainer.train()


def _prior_stage(
    run: Run,
    config: PriorConfig,
    train: Images,
    validation: ImageSet,
    engine: Engine,
    opened: Opened[VQVAE],
) -> PriorStage:
    tokenizer = opened.model
    if tokenizer.channels != train.shape[0]:
        raise UserError(
            f"{config.data.spec}: images of {train.shape[0]} channels, but the tokenizer is for "
            f"{tokenizer.channels}: set --data.channels {tokenizer.channels}"
        )
    views = config.data.augmentation(config.training.seed)
    with in_turn(local_rank() == 0):  # the first of a host stores codes, the others find them
        codes = code_set(tokenizer, opened.hash, train, views=views, device=engine.device)
        validation_codes = code_set(tokenizer, opened.hash, validation, views=Augmentation(), device=engine.device)
    stage = PriorStage(config, codes, validation_codes, engine, opened)
    if rank() == 0:
        save_counts(run.code_counts, stage.counts)
        baselines = ", ".join(f"{name} {bits:.4g}" for name, bits in stage.baselines.items())
        print(f"baselines that a prior must beat: {baselines}", file=sys.stderr, flush=True)
    return stage


def _describe(train: Images, validation: ImageSet) -> dict[str, Any]:
    def split(images: Images) -> dict[str, Any]:
        return {
            "images": len(images),
            "shape": list(images.shape),
            "fingerprint": images.fingerprint,
            "origin": images.origin,
            "left_out": list(images.left_out),
        }

    return {
        "spec": train.spec,
        "train": split(train),
        "validation": split(validation),
        "classes": list(train.classes),
        "pixel_variance": train.pixel_variance,
        "bad": [asdict(bad) for bad in [*train.bad, *validation.bad]],
    }


def _check_same_data(run: Run, train: Images) -> None:
    if broadcast(train.fingerprint) != train.fingerprint:
        raise UserError(
            f"{train.spec}: not the same images on all hosts: give every host the same files, or one shared folder"
        )
    if not run.data.exists():
        return
    before = read_json(run.data).get("train")
    if not isinstance(before, dict) or "fingerprint" not in before:
        raise UserError(f"{run.data}: damaged: it does not say which images the run began with")
    if before["fingerprint"] != train.fingerprint:
        raise UserError(
            f"{run.path}: the training images at {train.spec} are not those that the run began with; "
            "pass --data WHERE if they were moved, or start a new run"
        )
