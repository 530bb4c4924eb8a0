"""New codes of a prior into a store."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.commands.resolve import check_flags, label_rows
from vqvae.errors import UserError
from vqvae.model_card import ModelCard
from vqvae.model_io import choose_device, open_prior
from vqvae.priors import CodePrior
from vqvae.sampling import PLAIN, Controls, sample
from vqvae.tokens.shards import each_shard, writes
from vqvae.tokens.store import LOCK_FILE, Shard, Store, StoreHeader

SHARD_ROWS = 4096


def sample_to_store(
    path: str,
    out: str,
    *,
    num: int,
    label: str | None = None,
    seed: int = 0,
    controls: Controls = PLAIN,
    candidates: int = 1,
    shard_rows: int = SHARD_ROWS,
    device: str = "auto",
) -> Store:
    """Draw codes into a store, or go on where it stopped; ``vqvae decode`` makes images of them.

    Image i is a function of (seed, i, its label), so that shards are independent.

    Args:
        path: the prior's run directory.
        out: the store's directory.
        num: how many images.
        label: a class's name or number; None takes all classes in turn: image i is of class i % classes.
        seed: of the whole set.
        controls: of the drawing.
        candidates: drawn for each image, of which the one is kept that tells its class best.
        shard_rows: images a shard.
        device: where to run.

    Raises:
        UserError: for a path that is no prior's run, an unknown class, a control out of its range, or a store of
            something else at ``out``.
    """
    for name, value in (("num", num), ("shard-rows", shard_rows)):
        if value < 1:
            raise UserError(f"--{name} {value}: must be 1 or more")
    opened = open_prior(path, device=choose_device(device))
    prior, card = opened.model, opened.card
    check_flags(controls, _labels_of(range(1), label, prior, card), candidates)
    drawing = {"seed": seed, "candidates": candidates, **asdict(controls)}
    origin = {"prior": opened.hash, "label": label, **drawing}
    store = Store.create(Path(out), _header(prior, card, num, shard_rows, origin))

    def make(shard: int) -> None:
        rows = store.header.rows_of(shard)
        labels = _labels_of(rows, label, prior, card)
        codes = sample(
            prior,
            len(rows),
            first=rows.start,
            seed=seed,
            controls=controls,
            candidates=candidates,
            labels=labels,
            device="cpu",
        )
        store.write(shard, Shard(torch.arange(rows.start, rows.stop), codes, labels))

    with writes("the store", out):
        each_shard(store.header, store.path / LOCK_FILE, "sample", done=store.is_whole, make=make)
    return store


def _labels_of(rows: range, label: str | None, prior: CodePrior, card: ModelCard) -> Tensor | None:
    """Return the classes of rows, int64 [len(rows)]: the one that is named, else all in turn."""
    if label or not prior.num_classes:
        return label_rows(len(rows), label, card.classes, prior.num_classes)
    return torch.arange(rows.start, rows.stop) % prior.num_classes


def _header(prior: CodePrior, card: ModelCard, num: int, shard_rows: int, origin: dict[str, Any]) -> StoreHeader:
    return StoreHeader(
        tokenizer=card.tokenizer or "",
        shape=prior.spec.shape,
        num_codes=prior.spec.num_codes,
        image_shape=card.image_shape,
        rows=num,
        rows_per_shard=shard_rows,
        classes=card.classes if prior.num_classes else (),
        labelled=prior.num_classes > 0,
        origin=origin,
    )
