"""Encode a data set of any size into a store of codes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqvae.commands.resolve import TokenizerRun, check_at_least_1
from vqvae.commands.tiling import Tiling, encoded_exactly, tiling_for
from vqvae.data import ImageStream, describe, open_stream, quiet_pil
from vqvae.errors import UserError
from vqvae.files import write_json
from vqvae.model_io import Opened
from vqvae.models import VQVAE
from vqvae.progress import Progress, silent
from vqvae.screen import say
from vqvae.tokens import Shard, Store, StoreHeader
from vqvae.tokens.header import Format, check_shards
from vqvae.tokens.shards import each_shard, report_write_errors
from vqvae.tokens.store import LOCK_FILE

SHARD_ROWS = 8192
BAD_FILE = "bad.json"  # in a finished store: lists the images that could not be decoded


class Encoded(NamedTuple):
    """The result of encoding a data set.

    Attributes:
        store: the complete store.
        made: number of shards that this call made. Other shards existed already, or other processes made them.
        near_ties: number of positions in these shards whose code was decided in float64.
        bad: (name, reason) of the images, in all shards, that could not be decoded.
    """

    store: Store
    made: int
    near_ties: int
    bad: tuple[tuple[str, str], ...]


def encode_to_store(
    run: TokenizerRun,
    spec: str,
    out: str,
    *,
    split: str = "auto",
    shard_rows: int = SHARD_ROWS,
    tile: int | None = None,
    format: Format = "safetensors",
    progress: Progress = silent,
) -> Encoded:
    """Encode a split of a data set into a store. An unfinished store is continued.

    The bytes of a shard are a function of the tokenizer and the shard's rows alone. Any number of processes may
    work on one store at once; each of them returns when the store is complete.

    Args:
        run: the tokenizer.
        spec: the data set, as ``vqvae.data.load`` takes it. Its images are resized and converted like the run's
            own images.
        out: the store's directory.
        split: ``train``, ``validation``, ``test``, ``all`` or ``auto``, as ``vqvae.data.load`` takes it.
        shard_rows: number of images per shard. A process that is killed loses at most one shard.
        tile: side of the tiles of large images, in pixels; see ``tiling_for``.
        format: the format of the shards: ``safetensors``, or ``parquet``, which other programs read.
        progress: called with the number of images done and of all images.

    Raises:
        UserError: for data that do not fit, or when ``out`` holds something else.
    """
    check_at_least_1(shard_rows=shard_rows)
    stream = _stream_for(run, spec, split)
    say(describe(stream, look=False))
    tiling = tiling_for(run, stream.frame.size, tile, look=lambda: _first(stream))
    store = Store.create(Path(out), _header(run.tokenizer, stream, tiling, shard_rows, format))
    made = near_ties = 0

    def make(shard: int) -> None:
        nonlocal made, near_ties
        content, ties = _encoded(run.tokenizer.model, stream, store.header.rows_of(shard), tiling)
        with report_write_errors("the store", out):
            store.write(shard, content)
        made, near_ties = made + 1, near_ties + ties

    with quiet_pil():
        each_shard(store.header, store.path / LOCK_FILE, done=store.is_whole, make=make, progress=progress)
    bad = tuple(_bad(store))
    with report_write_errors("the store", out):
        write_json(store.path / BAD_FILE, [{"path": name, "reason": reason} for name, reason in bad])
    return Encoded(store, made, near_ties, bad)


def _stream_for(run: TokenizerRun, spec: str, split: str) -> ImageStream:
    options = run.reading_of(spec).options(run.tokenizer.model.factor)
    return open_stream(spec, split, **{**options, "validation": 0})  # a store holds all of a split


def _first(stream: ImageStream) -> Tensor:
    """Return the first image that can be decoded, uint8 [1, C, H, W].

    Raises:
        UserError: when no image can be decoded.
    """
    with quiet_pil():
        found = (batch.pixels[:1] for batch in stream.batches(range(len(stream))) if batch.rows)
        first = next(found, None)
    if first is None:
        raise UserError(f"{stream.spec}: none of its {len(stream):,} images can be decoded: check the files")
    return torch.tensor(first)


def _header(
    tokenizer: Opened[VQVAE], stream: ImageStream, tiling: Tiling | None, shard_rows: int, format: Format
) -> StoreHeader:
    # only tiles that approximate change the codes
    tiles = {} if tiling is None or tiling.overlap is None else {"tile": tiling.tile, "overlap": tiling.overlap}
    channels, height, width = stream.shape
    check_shards(len(stream), shard_rows)
    codes = tokenizer.model.code_spec(height, width)
    return StoreHeader(
        tokenizer=tokenizer.card.identity,
        shape=codes.shape,
        num_codes=codes.num_codes,
        image_shape=(channels, height, width),
        rows=len(stream),
        rows_per_shard=shard_rows,
        classes=stream.source.classes,
        labelled=stream.source.labels is not None,
        # the name of a folder without its path, so that the bytes do not depend on where the folder is
        origin={"data": Path(stream.spec).name, "split": stream.split, "fingerprint": stream.fingerprint, **tiles},
        format=format,
    )


def _encoded(tokenizer: VQVAE, stream: ImageStream, rows: range, tiling: Tiling | None) -> tuple[Shard, int]:
    """Return the shard of some rows, and the number of near-ties in it."""
    codes = [torch.empty(0, *tokenizer.code_spec(*stream.shape[1:]).shape, dtype=torch.int64)]
    kept: list[int] = []
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    near_ties = 0
    for batch in stream.batches(rows):
        bad += [(found.path, found.reason) for found in batch.bad]
        if batch.rows:
            exact = encoded_exactly(tokenizer, torch.tensor(batch.pixels), tiling)
            codes.append(exact.codes.cpu())
            near_ties += exact.near_ties
        kept += batch.rows
        names += batch.names
    labels = None if stream.source.labels is None else torch.as_tensor(stream.source.labels[kept]).long()
    return Shard(
        torch.tensor(kept, dtype=torch.int64), torch.cat(codes), labels, tuple(names), tuple(bad)
    ), near_ties


def _bad(store: Store) -> Iterator[tuple[str, str]]:
    for shard in store.shards():
        yield from shard.bad
