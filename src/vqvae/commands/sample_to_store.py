"""Draw codes from a prior into a store."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vqvae.commands.controls import check_controls
from vqvae.commands.resolve import check_at_least_1, sample_labels
from vqvae.model_io import Opened
from vqvae.priors import Prior
from vqvae.progress import Progress, silent
from vqvae.sampling import PLAIN, Controls, sample
from vqvae.tokens import Shard, Store, StoreHeader
from vqvae.tokens.header import check_shards
from vqvae.tokens.shards import each_shard, report_write_errors
from vqvae.tokens.store import LOCK_FILE

SHARD_ROWS = 4096


def sample_to_store(
    prior: Opened[Prior],
    out: str,
    *,
    num: int,
    label: str | None = None,
    seed: int = 0,
    controls: Controls = PLAIN,
    candidates: int = 1,
    shard_rows: int = SHARD_ROWS,
    progress: Progress = silent,
) -> Store:
    """Draw codes into a store. An unfinished store is continued. ``vqvae decode`` decodes a store.

    Row i has the codes of image i of ``sample_picture`` with the same arguments: a function of (seed, i, its
    class). So shards do not depend on each other.

    Args:
        prior: the prior.
        out: the store's directory.
        num: number of images.
        label: the name or number of a class; None takes all classes in turn, see ``labels_in_turn``.
        seed: seed of the whole set.
        controls: temperature, top_k, top_p, guidance.
        candidates: number of samples per image; the one with the highest likelihood ratio for its class is kept.
        shard_rows: number of images per shard.
        progress: called with the number of images done so far and the number of all images.

    Raises:
        ArgumentError: for an unknown class, or a value out of its range.
        UserError: when ``out`` holds something else.
    """
    check_at_least_1(num=num, shard_rows=shard_rows)
    check_shards(num, shard_rows)
    check_controls(controls, sample_labels(label, range(1), prior), candidates)
    drawing = {"seed": seed, "candidates": candidates, **asdict(controls)}
    origin = {"prior": prior.hash, "label": label, **drawing}
    store = Store.create(Path(out), _header(prior, num, shard_rows, origin))

    def make(shard: int) -> None:
        rows = store.header.rows_of(shard)
        labels = sample_labels(label, rows, prior)
        codes = sample(
            prior.model,
            len(rows),
            first=rows.start,
            seed=seed,
            controls=controls,
            candidates=candidates,
            labels=labels,
            device="cpu",
        )
        store.write(shard, Shard(torch.arange(rows.start, rows.stop), codes, labels))

    with report_write_errors("the store", out):
        each_shard(store.header, store.path / LOCK_FILE, done=store.is_whole, make=make, progress=progress)
    return store


def _header(prior: Opened[Prior], num: int, shard_rows: int, origin: dict[str, Any]) -> StoreHeader:
    spec, card = prior.model.spec, prior.card
    has_classes = prior.model.num_classes > 0
    return StoreHeader(
        tokenizer=card.tokenizer,
        shape=spec.shape,
        num_codes=spec.num_codes,
        image_shape=card.image_shape,
        rows=num,
        rows_per_shard=shard_rows,
        classes=card.classes if has_classes else (),
        labelled=has_classes,
        origin=origin,
    )
