"""A data set of any size into a store."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from vqvae.commands.resolve import data_config
from vqvae.data import ImageStream, open_stream, quiet_pil
from vqvae.errors import UserError
from vqvae.files import write_json
from vqvae.model_io import choose_device, open_tokenizer
from vqvae.models import VQVAE
from vqvae.tensors import images_from_pixels
from vqvae.tokens.shards import each_shard, writes
from vqvae.tokens.store import LOCK_FILE, Shard, Store, StoreHeader

SHARD_ROWS = 8192
BAD_FILE = "bad.json"  # of a finished store: what could not be decoded


class Encoded(NamedTuple):
    """What became of a data set.

    Attributes:
        store: now complete.
        made: shards that this process made; others were there, or another process made them.
        near_ties: positions in them that were settled in float64.
        bad: (name, reason) of the images, of all shards, that could not be decoded.
    """

    store: Store
    made: int
    near_ties: int
    bad: tuple[tuple[str, str], ...]


def encode_to_store(
    path: str, spec: str, out: str, *, split: str = "train", shard_rows: int = SHARD_ROWS, device: str = "auto"
) -> Encoded:
    """Encode one split of a data set, or go on where this or another process stopped.

    A shard's bytes are a function of the tokenizer and its rows alone. Any number of processes may run this on one
    store at once; each waits at its end until the store is complete.

    Args:
        path: a run directory with a tokenizer, or a tokenizer's file.
        spec: the data, as ``vqvae.data.load`` takes it; made to fit as the run's own were.
        out: the store's directory.
        split: "train" or "test".
        shard_rows: images a shard, the unit that a kill can cost.
        device: where to run.

    Raises:
        UserError: for a path that is no run, data that do not fit, or a store of something else at ``out``.
    """
    if shard_rows < 1:
        raise UserError(f"--shard-rows {shard_rows}: must be 1 or more")
    on = choose_device(device)
    opened = open_tokenizer(path, device=on)
    tokenizer = opened.model
    stream = _stream_for(path, tokenizer, spec, split)
    store = Store.create(Path(out), _header(tokenizer, opened.hash, stream, shard_rows))
    made = near_ties = 0

    def make(shard: int) -> None:
        nonlocal made, near_ties
        content, ties = _encoded(tokenizer, stream, store.header.rows_of(shard), on)
        store.write(shard, content)
        made, near_ties = made + 1, near_ties + ties

    with quiet_pil(), writes("the store", out):
        each_shard(store.header, store.path / LOCK_FILE, "encode", done=store.is_whole, make=make)
        bad = tuple(_bad(store))
        write_json(store.path / BAD_FILE, [{"path": name, "reason": reason} for name, reason in bad])
    return Encoded(store, made, near_ties, bad)


def _stream_for(path: str, tokenizer: VQVAE, spec: str, split: str) -> ImageStream:
    data = data_config(path)
    return open_stream(
        spec,
        split,
        size=data.size,
        fit=data.fit,
        channels=tokenizer.channels,
        multiple_of=tokenizer.factor,
    )


def _header(tokenizer: VQVAE, tokenizer_hash: str, stream: ImageStream, shard_rows: int) -> StoreHeader:
    channels, height, width = stream.shape
    codes = tokenizer.code_spec(height, width)
    return StoreHeader(
        tokenizer=tokenizer_hash,
        shape=codes.shape,
        num_codes=codes.num_codes,
        image_shape=(channels, height, width),
        rows=len(stream),
        rows_per_shard=shard_rows,
        classes=stream.source.classes,
        labelled=stream.source.labels is not None,
        # a folder's name without the way to it: the bytes are the same wherever it lies
        origin={"data": Path(stream.spec).name, "split": stream.split, "fingerprint": stream.fingerprint},
    )


def _encoded(tokenizer: VQVAE, stream: ImageStream, rows: range, device: torch.device) -> tuple[Shard, int]:
    """Return a shard, and how many near-ties there were."""
    codes = [torch.empty(0, *tokenizer.code_spec(*stream.shape[1:]).shape, dtype=torch.int64)]
    kept: list[int] = []
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    near_ties = 0
    for batch in stream.batches(rows):
        bad += [(found.path, found.reason) for found in batch.bad]
        if batch.rows:
            settled = tokenizer.encode_exact(images_from_pixels(torch.tensor(batch.pixels).to(device)))
            codes.append(settled.codes.cpu())
            near_ties += settled.near_ties
        kept += batch.rows
        names += batch.names
    labels = None if stream.source.labels is None else torch.as_tensor(stream.source.labels[kept]).long()
    return Shard(
        torch.tensor(kept, dtype=torch.int64), torch.cat(codes), labels, tuple(names), tuple(bad)
    ), near_ties


def _bad(store: Store) -> Iterator[tuple[str, str]]:
    for shard in store.shards():
        yield from shard.bad
