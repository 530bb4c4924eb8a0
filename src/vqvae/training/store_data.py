"""Codes that ``vqvae encode`` stored, as the data of a prior: no image is read and none is encoded."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqvae.config import PriorConfig
from vqvae.data import OBJECT, named_classes
from vqvae.data.source import Item, Rows, Source, all_rows
from vqvae.data.splits import DataSet, open_split, rows_for_test
from vqvae.distributed import rank
from vqvae.errors import UserError
from vqvae.screen import say
from vqvae.tokens import Shard, Store
from vqvae.tokens.store import STORE_FILE
from vqvae.training.code_cache import CodeOrigin, CodeSet


@dataclass(frozen=True, eq=False)
class StoredCodes:
    """The codes of one split of a store.

    Attributes:
        codes: [N, h, w, n], in the store's type; in memory, or mapped from a file.
        labels: int64 [N], indices into ``classes``, or None.
        classes: the class names; empty without labels.
        spec: the store.
        split: "train" or "validation".
        shape: (C, H, W) of the images that were encoded.
        origin: in words, which rows of the store these are.
        left_out: in words, which rows the store lacks.
        fingerprint: SHA-256 in hex over codes and labels.
    """

    codes: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    spec: str
    split: str
    shape: tuple[int, int, int]
    origin: str
    left_out: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        """Return N."""
        return len(self.codes)

    def close(self) -> None:
        """Do nothing: a mapped file goes with its tensor."""

    def as_code_set(self) -> CodeSet:
        """Return the codes as one view of each image."""
        return CodeSet(self.codes[None], self.labels, self.classes, self.shape)

    def __str__(self) -> str:
        """Return one line: how many codes of which classes, which rows they are, and what was left out."""
        height, width, n = self.codes.shape[1:]
        classes = (
            f"{len(self.classes):,} classes ({named_classes(self.classes)})" if self.classes else "no classes"
        )
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        size = f"{height}x{width}x{n} codes"
        return f"{self.split}: {len(self):,} images of {size}, {classes}; {self.origin}{left_out}"


class StoreData(NamedTuple):
    """The codes of a prior's run.

    Attributes:
        train: the codes to train on.
        validation: the codes to measure on while training.
        origin: what made the codes, without the tokenizer itself.
    """

    train: StoredCodes
    validation: StoredCodes
    origin: CodeOrigin


def is_store(spec: str) -> bool:
    """Tell whether a data set's spec is the path of a store of codes."""
    return (Path(spec).expanduser() / STORE_FILE).is_file()


def check_codes_alone(spec: str) -> None:
    """Check that data can train a prior without a tokenizer.

    Raises:
        UserError: when there is no store of codes at the path.
    """
    if not is_store(spec):
        where = "an object in Python" if spec.startswith(OBJECT) else spec
        raise UserError(f"{where}: not a store of codes; --codes-only trains on a store: pass --data STORE")


def load_store_data(config: PriorConfig, tokenizer: str | None, folder: Path) -> StoreData:
    """Read both splits of the store at ``config.data.spec`` and print one line about each.

    The rule of splits is the rule of images (``vqvae.data.splits``). If the store holds all of a set without
    splits, the images whose names hash lowest are kept for testing. Of the others, ``config.data.validation`` says
    what is held out. Under ``config.data.stream`` the codes are mapped from a file, not held in memory.

    Args:
        config: of the prior.
        tokenizer: the identity that the store's tokenizer must have; None accepts any.
        folder: where such a file is made. It has no name there and is gone when the process ends.

    Raises:
        UserError: when the store is not whole, holds codes of another tokenizer or of a test split, or lacks the
            classes that the prior is to be conditioned on.
    """
    store = Store.open(config.data.spec)
    _check(store, config, tokenizer)
    rows, labels, sources = _split(store, config)
    found = list[StoredCodes]()
    for split, source in sources.items():
        chosen = _rows_of(source)
        codes, fingerprint = _read(store, rows[chosen], folder if config.data.stream else None)
        found.append(
            StoredCodes(
                codes=codes,
                labels=None if labels is None else torch.as_tensor(labels[chosen]),
                classes=source.classes,
                spec=config.data.spec,
                split=split,
                shape=store.header.image_shape,
                origin=source.origin,
                left_out=source.left_out,
                fingerprint=fingerprint,
            )
        )
    if rank() == 0:
        say("\n".join(map(str, found)))
    train, validation = found
    return StoreData(train, validation, CodeOrigin(store.header.tokenizer, store.header.num_codes, None))


def _check(store: Store, config: PriorConfig, tokenizer: str | None) -> None:
    header, where = store.header, store.path
    if tokenizer is not None and header.tokenizer != tokenizer:
        raise UserError(
            f"{where}: codes of another tokenizer, {header.tokenizer[:16]}...: pass that tokenizer, or train on "
            "the codes alone: --codes-only"
        )
    if header.origin.get("split") in ("test", "validation"):
        raise UserError(f"{where}: codes of a {header.origin['split']} split: pass a store of the training split")
    if config.data.flip or config.data.crops:
        raise UserError(f"{where}: one view of each image is stored; set --data.flip false and --data.crops 0")


def _split(store: Store, config: PriorConfig) -> tuple[Rows, Rows | None, dict[str, Source]]:
    """Return the rows that the store holds, their labels, and a source without images for each split."""
    shards = [_without_codes(shard) for shard in store.shards()]
    rows = np.concatenate([np.empty(0, np.int64), *(shard.rows.numpy() for shard in shards)])
    names = [name for shard in shards for name in shard.names]
    bad = [name for shard in shards for name, _ in shard.bad]
    if not len(rows):
        raise UserError(f"{store.path}: holds no codes")
    labels = np.concatenate([shard.labels.numpy() for shard in shards if shard.labels is not None] or [rows[:0]])
    whole = Source(
        count=len(rows),
        items=lambda some: iter([Item("rows", some)]),
        names=lambda: names,
        files=lambda _: iter(()),
        origin=f"the rows of the store {store.path.name}",
        labels=labels if store.header.labelled else None,
        classes=store.header.classes if store.header.labelled else (),
        left_out=(f"{len(bad):,} that could not be decoded",) if bad else (),
    )
    train = _without_test(whole, bad) if store.header.origin.get("split") == "all" else whole
    data = DataSet(str(store.path), {"train": lambda: train, "test": lambda: train}, "codes")
    if config.data.validation == 0:
        themselves = replace(train, origin=f"the training codes themselves, {train.origin}")
        splits = {"train": train, "validation": themselves}
    else:
        splits = {name: open_split(data, name, config.data.validation) for name in ("train", "validation")}
    return rows, whole.labels, {name: _first(source, config.data.limit) for name, source in splits.items()}


def _first(source: Source, limit: int | None) -> Source:
    if limit is None or limit >= source.count:
        return source
    return source.subset(np.arange(limit), f"{source.origin}; the first {limit:,} of {source.count:,}")


def _without_test(whole: Source, bad: list[str]) -> Source:
    """Keep for testing what the data set itself keeps: images that could not be decoded count too."""
    names = list(whole.names())
    if len(names) < 2:
        return whole
    every = replace(whole, count=len(names) + len(bad), names=lambda: [*names, *bad])
    test = rows_for_test(every)
    test = test[test < len(names)]
    words = f"{whole.origin}; {len(test):,} of {whole.count:,} are held out for test"
    return whole.subset(np.setdiff1d(all_rows(whole), test), words)


def _rows_of(source: Source) -> Rows:
    """Return which rows of the whole source a source of some of them holds."""
    [item] = source.items(all_rows(source))
    assert isinstance(item.content, np.ndarray)
    return item.content


def _without_codes(shard: Shard) -> Shard:
    return replace(shard, codes=torch.empty(0))


def _read(store: Store, rows: Rows, folder: Path | None) -> tuple[Tensor, str]:
    """Return the codes of some rows of a store, ascending, and the SHA-256 of codes and labels."""
    codes = _room(store, len(rows), folder)
    digest, at = hashlib.sha256(), 0
    for number, shard in _shards_with(store, rows):
        kept = np.isin(shard.rows.numpy(), rows)
        part = shard.codes[torch.as_tensor(kept)]
        codes[at : at + len(part)] = part
        at += len(part)
        digest.update(f"{number} ".encode() + part.numpy().tobytes())
        if shard.labels is not None:
            digest.update(shard.labels.numpy()[kept].astype("<i8").tobytes())
    return codes, digest.hexdigest()


def _shards_with(store: Store, rows: Rows) -> Iterator[tuple[int, Shard]]:
    for number in range(store.header.num_shards):
        inside = store.header.rows_of(number)
        if np.searchsorted(rows, inside.start) < np.searchsorted(rows, inside.stop):
            yield number, store.read(number)


def _room(store: Store, count: int, folder: Path | None) -> Tensor:
    """Return space for the codes of ``count`` images: in memory, or mapped from a file in a folder."""
    shape = (count, *store.header.shape)
    if folder is None:
        return torch.empty(shape, dtype=store.header.dtype)
    kind = torch.empty(0, dtype=store.header.dtype).numpy().dtype
    with tempfile.TemporaryFile(dir=folder) as file:
        os.truncate(file.fileno(), max(1, int(np.prod(shape)) * kind.itemsize))
        mapped: NDArray[np.int64] = np.memmap(file, kind, "r+", shape=shape)
    return torch.from_numpy(mapped)
