"""New codes of a prior into a store."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.evaluation import check_flags, label_rows
from vqvae.hub import choose_device, file_hash, load_prior, model_file, read_model
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
    on = choose_device(device)
    prior, (card, _) = load_prior(path, device=on), read_model(path)

    def labels_of(rows: range) -> Tensor | None:
        if label or not prior.num_classes:
            return label_rows(len(rows), label, card.classes, prior.num_classes)
        return torch.arange(rows.start, rows.stop) % prior.num_classes  # all in turn

    check_flags(controls, labels_of(range(1)), candidates)
    drawing = {"seed": seed, "candidates": candidates, **asdict(controls)}
    channels, height, width = card.image_shape
    header = StoreHeader(
        tokenizer=card.tokenizer or "",
        shape=(*prior.grid, prior.codes_per_position),
        num_codes=prior.num_codes,
        image_shape=(channels, height, width),
        rows=num,
        rows_per_shard=shard_rows,
        classes=card.classes if prior.num_classes else (),
        labelled=prior.num_classes > 0,
        origin={"prior": file_hash(model_file(path)), "label": label, **drawing},
    )
    store = Store.create(Path(out), header)

    def make(shard: int) -> None:
        rows = store.header.rows_of(shard)
        labels = labels_of(rows)
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
        each_shard(header, store.path / LOCK_FILE, "sample", done=store.is_whole, make=make)
    return store
