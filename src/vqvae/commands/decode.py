"""Decode a store of codes to image files."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vqvae.commands.resolve import TokenizerRun
from vqvae.commands.tiling import Tiling, decoded, tiling_for
from vqvae.data.listing import DECODED
from vqvae.data.source import printable
from vqvae.errors import UserError
from vqvae.files import json_bytes, write_atomically
from vqvae.progress import Progress, silent
from vqvae.screen import say
from vqvae.tokens import CodeSource, Shard, open_codes
from vqvae.tokens.shards import each_shard, report_write_errors
from vqvae.tokens.store import LOCK_FILE, STORE_FILE, store_json

_BATCH = 64  # fixed, since a pixel may differ by one level at another batch size


def decode_store(
    store_path: str, run: TokenizerRun, out: str, *, tile: int | None = None, progress: Progress = silent
) -> int:
    """Decode the images of a store, or codes of another program, to PNG files. An unfinished folder is continued.

    The files are ``out/CLASS/ROW.png`` if rows have labels and ``out/ROW.png`` otherwise, so ``out`` can be used
    as a data set. ROW is the row in the store, in eight digits.

    Args:
        store_path: the codes, as ``open_codes`` takes them.
        run: the tokenizer that made the codes, or one with the same encoder and quantizer. If the file does not
            say which tokenizer made its codes, one line says so.
        out: the folder of images.
        tile: side of the tiles of large images, in pixels; see ``tiling_for``.
        progress: called with the number of images done so far and the number of all images.

    Returns:
        The number of images.

    Raises:
        UserError: when there are no codes at the path, they are from another tokenizer or do not fit it, or
            ``out`` holds something else.
    """
    model, shape = run.tokenizer.model, run.tokenizer.card.image_shape
    store = open_codes(Path(store_path), model.code_spec(*shape[1:]), shape)
    if not store.header.tokenizer:
        say(f"{store_path}: it does not say which tokenizer made its codes; they are taken as codes of {run.path}")
    elif run.tokenizer.card.identity != store.header.tokenizer:
        raise UserError(
            f"{run.path}: not the tokenizer whose codes {store_path} holds: its encoder or quantizer is another"
        )
    height, width = (size * run.tokenizer.model.factor for size in store.header.shape[:2])
    tiling = tiling_for(run, (height, width), tile, look=None)
    record = _start(store, run.tokenizer.hash, tile, Path(out))
    folders = _folders(store.header.classes) if store.header.labelled else ("",)
    for folder in folders:
        (Path(out) / folder).mkdir(exist_ok=True)

    def make(number: int) -> None:
        _write_images(run, store.read(number), Path(out), folders, tiling)
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # one call for all files, so that they are on the disk before the record is
        write_atomically(record / f"{number:05d}", b"")

    def done(number: int) -> bool:
        return (record / f"{number:05d}").exists()

    with report_write_errors("the images", out):
        each_shard(store.header, record / LOCK_FILE, done=done, make=make, progress=progress)
    return sum(len(store.read(number).rows) for number in range(store.header.num_shards))


def _start(store: CodeSource, decoder: str, tile: int | None, out: Path) -> Path:
    """Make the folder, or continue a folder of the same store and decoder.

    Return the folder that records finished shards.
    """
    record = out / DECODED
    header = json_bytes({**store_json(store.header), "decoder": decoder, "tile": tile})
    begun = record / STORE_FILE
    if out.exists() and not (out.is_dir() and (begun.exists() or _is_empty(out))):
        raise UserError(f"{out} exists and is not a folder of decoded images: choose another folder")
    try:
        record.mkdir(parents=True, exist_ok=True)
        if not begun.exists():
            write_atomically(begun, header)
        if begun.read_bytes() != header:
            raise UserError(f"{out} holds images of another store, decoder or --tile: choose another folder")
    except OSError as error:
        raise UserError(f"{out}: cannot make the folder: {error.strerror}") from None
    return record


def _is_empty(out: Path) -> bool:
    # a process that died between making the record and writing its first file leaves only the record
    return {file.name for file in out.iterdir()} <= {DECODED}


def _folders(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a folder for each class: the classes' names if all can be file names, otherwise their numbers."""
    unfit = [name for name in classes if not re.fullmatch(r"\w[\w .()+-]{0,49}", name)]
    if not unfit and len(set(classes)) == len(classes):
        return tuple(classes)
    why = f"'{printable(unfit[0])[:50]}' cannot name a folder" if unfit else "two classes have one name"
    say(f"the folders of the {len(classes):,} classes are called by number, 00000 and up: {why}")
    return tuple(f"{number:05d}" for number in range(len(classes)))


def _write_images(
    run: TokenizerRun, shard: Shard, out: Path, folders: Sequence[str], tiling: Tiling | None
) -> None:
    for batch in torch.arange(len(shard.rows)).split(_BATCH if tiling is None else 1):
        pixels = decoded(run.tokenizer.model, shard.codes[batch].to(run.device), tiling).permute(0, 2, 3, 1)
        for index, image in zip(batch.tolist(), pixels, strict=True):
            folder = folders[0] if shard.labels is None else folders[int(shard.labels[index])]
            _save(out / folder / f"{int(shard.rows[index]):08d}.png", image)


def _save(file: Path, pixels: Tensor) -> None:
    encoded = io.BytesIO()
    Image.fromarray((pixels[..., 0] if pixels.shape[2] == 1 else pixels).numpy()).save(encoded, format="PNG")
    beside = file.with_name(f".{file.name}.tmp")  # a shard has one owner, which overwrites a dead owner's file
    beside.write_bytes(encoded.getvalue())
    beside.replace(file)
