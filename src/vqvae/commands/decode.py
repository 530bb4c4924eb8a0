"""A store back to images."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vqvae.errors import UserError
from vqvae.files import write_atomically
from vqvae.model_io import choose_device, open_tokenizer
from vqvae.models import VQVAE
from vqvae.tensors import pixels_from_images
from vqvae.tokens.shards import each_shard, writes
from vqvae.tokens.store import LOCK_FILE, STORE_FILE, Shard, Store

_BATCH = 64  # the same for every shard: at another, the last bit of a pixel may round otherwise
_RECORD = ".decoded"  # hidden, so that the folder is a data set as it is


def decode_store(store_path: str, path: str, out: str, *, device: str = "auto") -> int:
    """Write the images of a store as PNG files, or go on where this or another process stopped.

    ``out/CLASS/ROW.png`` where rows have labels, ``out/ROW.png`` where they have none: a folder that ``--data``
    takes. ROW is the row's number in the store, eight digits.

    Args:
        store_path: the store.
        path: a run directory with the tokenizer that the codes are of, or its file.
        out: the folder of images.
        device: where to run.

    Returns:
        How many images there are.

    Raises:
        UserError: for a store or tokenizer that is none, or that is of another, or a folder of something else.
    """
    store = Store.open(store_path)
    on = choose_device(device)
    tokenizer = open_tokenizer(path, device=on)
    if tokenizer.hash != store.header.tokenizer:
        raise UserError(
            f"{path}: not the tokenizer whose codes {store_path} holds, {store.header.tokenizer[:16]}..."
        )
    record = _start(store, Path(out))
    folders = _folders(store.header.classes) if store.header.labelled else ("",)
    for folder in folders:
        (Path(out) / folder).mkdir(exist_ok=True)

    def make(number: int) -> None:
        _write_images(tokenizer.model, store.read(number), Path(out), folders, on)
        os.sync()  # one for all its files: they are on the disk before the record says so
        write_atomically(record / f"{number:05d}", b"")

    def done(number: int) -> bool:
        return (record / f"{number:05d}").exists()

    with writes("the images", out):
        each_shard(store.header, record / LOCK_FILE, "decode", done=done, make=make)
    return sum(len(shard.rows) for shard in store.shards())


def _start(store: Store, out: Path) -> Path:
    """Make the folder, or find it begun with the same store; return where it is noted which shards are done."""
    record, header = out / _RECORD, (store.path / STORE_FILE).read_bytes()
    begun = record / STORE_FILE
    if out.exists() and not (out.is_dir() and (begun.exists() or not any(out.iterdir()))):
        raise UserError(f"{out} exists and is no folder of decoded images: choose another --out")
    try:
        record.mkdir(parents=True, exist_ok=True)
        if not begun.exists():
            write_atomically(begun, header)
        if begun.read_bytes() != header:
            raise UserError(f"{out} holds images of another store: choose another --out")
    except OSError as error:
        raise UserError(f"{out}: cannot make the folder: {error.strerror}") from None
    return record


def _folders(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a folder for each class: its name where that is fit for one, else all by their numbers."""
    fit = len(set(classes)) == len(classes) and all(re.fullmatch(r"\w[\w .()+-]{0,99}", name) for name in classes)
    return tuple(classes) if fit else tuple(f"{number:05d}" for number in range(len(classes)))


def _write_images(tokenizer: VQVAE, shard: Shard, out: Path, folders: Sequence[str], device: torch.device) -> None:
    for batch in torch.arange(len(shard.rows)).split(_BATCH):
        images = tokenizer.decode(shard.codes[batch].long().to(device))
        pixels = pixels_from_images(images).permute(0, 2, 3, 1).cpu()
        for index, image in zip(batch.tolist(), pixels, strict=True):
            folder = folders[0] if shard.labels is None else folders[int(shard.labels[index])]
            _save(out / folder / f"{int(shard.rows[index]):08d}.png", image)


def _save(file: Path, pixels: Tensor) -> None:
    encoded = io.BytesIO()
    Image.fromarray((pixels[..., 0] if pixels.shape[2] == 1 else pixels).numpy()).save(encoded, format="PNG")
    beside = file.with_name(f".{file.name}.tmp")  # one owner a shard: what a dead one left is written over
    beside.write_bytes(encoded.getvalue())
    beside.replace(file)
