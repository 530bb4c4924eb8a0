"""Start a run from a config, or resume it, and train it to its end."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from vqvae.config import Change, PriorConfig, RunConfig, TokenizerConfig, changed, checked
from vqvae.data import OBJECT, Objects, quiet_pil
from vqvae.distributed import barrier, broadcast, process_group, rank, world_size
from vqvae.errors import UserError
from vqvae.files import write_atomically
from vqvae.memory import freed_memory_kept
from vqvae.model_io import ModelFile, Opened, open_tokenizer, read_model, read_tokenizer
from vqvae.models import VQVAE
from vqvae.paths import whole_spec
from vqvae.screen import say
from vqvae.training.checkpoint import checkpoints
from vqvae.training.engine import Engine
from vqvae.training.initial import check_start
from vqvae.training.loop import Trainer
from vqvae.training.prior_start import conditioned, prior_stage
from vqvae.training.run import Run
from vqvae.training.run_data import RunData, load_run_data, record_run_data
from vqvae.training.stage import MODEL, Stage
from vqvae.training.store_data import StoreData, check_codes_alone, is_store, load_store_data
from vqvae.training.tokenizer import TokenizerStage
from vqvae.training.trackers import check_trackers


def train(
    config: RunConfig,
    *,
    out: str | None,
    name: str,
    tokenizer: ModelFile | None = None,
    data: Objects | None = None,
) -> Run:
    """Start a new run and train it to its end.

    It may be called in a thread. Signals then end the program without saving, and ``resume`` continues from the
    newest checkpoint.

    Args:
        config: the config of a tokenizer or of a prior.
        out: the run directory; None takes ``runs/NAME``, or the next free one of ``runs/NAME-2``, ...
        name: the name of the recipe.
        tokenizer: for a prior, the file at ``config.tokenizer`` if it was read already. If ``config.tokenizer``
            is empty, the prior is trained on the codes of a store alone.
        data: an object as ``vqvae.data.load`` takes it, in place of ``config.data.spec``.

    Raises:
        UserError: for every mistake that the user can mend; if possible, before anything is written.
        Interrupted: after a signal, with everything saved.
    """
    config = checked(config, "config")
    check_start(config)
    check_trackers(config.training.tracker)
    with process_group():
        engine = Engine.of(config.training)
        opened = None
        if isinstance(config, PriorConfig):
            tokenizer = tokenizer or _tokenizer_of(config, data)
            if tokenizer is not None:
                config = dataclasses.replace(config, tokenizer=str(tokenizer.path.resolve()))
                opened = open_tokenizer(tokenizer, device=engine.device)
        init = _read_init(config) if config.init else None
        if init is not None:
            config = dataclasses.replace(config, init=str(init.path.resolve()))
        config = dataclasses.replace(_with_whole_paths(config), training=engine.resolve(config.training))
        with _claimed(out, name) as run, run.report_failures():
            splits = _load(run, config, opened, data)
            if isinstance(splits, RunData):
                config = dataclasses.replace(config, data=config.data.as_read(splits.train))
            if isinstance(config, PriorConfig):
                config = conditioned(config, splits)
            if rank() == 0:
                if tokenizer is not None:
                    _keep(tokenizer, run.tokenizer)
                if init is not None:
                    _keep(init, run.init)
                run.begin(config)
            barrier()
            _train(run, config, engine, splits, opened, init=init, new=True)
    return run


def resume(path: str, changes: Mapping[str, Any] | None = None, *, data: Objects | None = None) -> Run:
    """Continue a run from its newest checkpoint; without changes, the run ends like an uninterrupted run.

    Args:
        path: the run directory.
        changes: new values of keys from here on, as the overrides of ``load_config``. The run's config keeps them,
            and its ``changes.jsonl`` records the step of each change.
        data: for a run that was trained on an object in Python: the same object.

    Raises:
        UserError: when there is no run at the path, its data have changed, its checkpoint does not fit, or a key
            cannot change in a run that has begun.
        Interrupted: after a signal, with everything saved.
    """
    with process_group(), Run.opened(path) as (run, before), run.report_failures():
        config, made = changed(before, changes or {}, str(run.path))
        check_trackers(config.training.tracker)
        engine = Engine.of(config.training)
        if made:
            config = dataclasses.replace(_with_whole_paths(config), training=engine.resolve(config.training))
        keeps_one = isinstance(config, PriorConfig) and bool(config.tokenizer)
        tokenizer = open_tokenizer(run.tokenizer, device=engine.device) if keeps_one else None
        init = read_model(run.init) if config.init and not checkpoints(run.checkpoints) else None
        _train(run, config, engine, _load(run, config, tokenizer, data), tokenizer, init=init, changes=made)
    return run


def _read_init(config: RunConfig) -> ModelFile:
    """Read the model to start from; of a prior's run, a tokenizer starts from its tokenizer."""
    return (read_model if isinstance(config, PriorConfig) else read_tokenizer)(config.init)


def _tokenizer_of(config: PriorConfig, data: Objects | None) -> ModelFile | None:
    """Read the tokenizer that a config names; a prior of codes alone has none.

    Raises:
        UserError: when there is no tokenizer at the path, or none is named and the data are not a store.
    """
    if config.tokenizer:
        return read_tokenizer(config.tokenizer)
    check_codes_alone(config.data.spec if data is None else OBJECT)
    return None


@contextmanager
def _claimed(out: str | None, name: str) -> Iterator[Run]:
    """Own a new run directory; rank 0 owns it for all ranks and sends them its path."""
    if rank():
        yield Run(Path(broadcast("")))
        return
    with Run.claimed(out, name) as run:
        broadcast(str(run.path.resolve()))
        yield run


def _keep(file: ModelFile, at: Path) -> None:
    """Copy a model file into a run: the tokenizer that decodes a prior's samples, or the model it started from."""
    at.parent.mkdir(exist_ok=True)
    write_atomically(at, file.content)


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """Make paths absolute, so that the run resumes from any folder; files of losses are named by their SHA-256."""
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, spec=whole_spec(config.data.spec)))
    if not isinstance(config, TokenizerConfig):
        return config
    return dataclasses.replace(config, losses=tuple(loss.resolved() for loss in config.losses))


def _load(
    run: Run, config: RunConfig, tokenizer: Opened[VQVAE] | None, given: Objects | None
) -> RunData | StoreData:
    if isinstance(config, TokenizerConfig):
        return load_run_data(config.data, given, multiple_of=config.model.network.factor)
    if given is None and is_store(config.data.spec):
        return load_store_data(config, tokenizer and tokenizer.card.identity, run.path)
    if tokenizer is None:
        check_codes_alone(config.data.spec)
    assert tokenizer is not None, "images are encoded by a tokenizer"
    return load_run_data(config.data, given, multiple_of=tokenizer.model.factor)


def _train(
    run: Run,
    config: RunConfig,
    engine: Engine,
    data: RunData | StoreData,
    tokenizer: Opened[VQVAE] | None,
    *,
    init: ModelFile | None,
    changes: Sequence[Change] = (),
    new: bool = False,
) -> None:
    """Make the stage and run the loop; a new run that cannot start leaves its directory free."""
    record_run_data(run, data)
    if rank() == 0:
        run.write_environment(
            device=str(engine.device),
            ranks=world_size(),
            precision="bf16" if engine.bf16 else "fp32",
            compile=engine.compiled,
            shard=engine.sharded,
        )
    with freed_memory_kept(), quiet_pil(), closing(data.train):  # a stream decodes while it is read, and ahead
        with run.freed_after_error() if new else nullcontext():
            stage: Stage
            if isinstance(config, TokenizerConfig):
                assert isinstance(data, RunData), "a tokenizer is trained on images"
                stage = TokenizerStage(config, data.train, data.validation, engine, init)
            else:
                stage = prior_stage(config, data, engine, run=run, tokenizer=tokenizer, init=init)
            if rank() == 0:
                say(_headline(run, config, engine, stage, data))
            trainer = Trainer(stage, config.training, engine, run)
        if trainer.step > config.training.steps:
            raise UserError(f"training.steps {config.training.steps}: the run is at step {trainer.step} already")
        if changes and rank() == 0:
            run.change(config, trainer.step, changes)
        trainer.train()


def _headline(run: Run, config: RunConfig, engine: Engine, stage: Stage, data: RunData | StoreData) -> str:
    """Return the line that names the run, the model, the data and the device."""
    sizes = {name: sum(p.numel() for p in group.module.parameters()) for name, group in stage.groups.items()}
    parameters = f"{sizes.pop(MODEL):,} parameters" + "".join(f", {name} {size:,}" for name, size in sizes.items())
    where = f"{world_size()} x {engine.device.type}" if world_size() > 1 else str(engine.device)
    where += " sharded" if engine.sharded else ""
    classes = ""
    if isinstance(config, PriorConfig) and data.train.labels is not None:
        count = f"{len(data.train.classes):,} classes"
        classes = f", conditioned on {count}" if config.classes else f", without the {count} (--classes true)"
    images = f"{len(data.train):,} images{classes}"
    return (
        f"{run.path}: {config.stage}, {parameters}, {images}, {config.training.steps} steps of "
        f"{config.training.batch_size}, {where} {'bf16' if engine.bf16 else 'fp32'}"
    )
