"""A shard of codes as safetensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tokens.header import Shard, StoreHeader, bad_rows, plain_header

KIND, VERSION = "vqvae-code-shard", 3
_NAMES = {"rows", "codes", "labels", "names"}


def write(file: Path, store: StoreHeader, number: int, content: Shard) -> None:
    """Write a shard atomically; the same content gives the same bytes."""
    tensors = {"rows": content.rows, "codes": content.codes.to(store.dtype)}
    if content.labels is not None:
        tensors["labels"] = content.labels
    if content.names:
        tensors["names"] = _packed(content.names)
    header = {"store": plain_header(store), "shard": number, "bad": [list(bad) for bad in content.bad]}
    save_tensors(file, KIND, VERSION, header, tensors)


def read(file: Path) -> tuple[dict[str, Any], Shard]:
    """Read what the header says and the rows, whose shapes are unchecked.

    Raises:
        UserError: when the file is missing or damaged.
    """
    header, tensors = load_tensors(file, KIND, VERSION)
    bad = bad_rows(header.get("bad"), file)
    names = tensors.get("names")
    packed = names is None or (names.dtype, names.ndim) == (torch.uint8, 1)
    if not {"rows", "codes"} <= tensors.keys() <= _NAMES or not packed:
        raise UserError(f"{file}: damaged: its tensors do not fit its header")
    texts = () if names is None else _unpacked(names)
    return header, Shard(tensors["rows"], tensors["codes"], tensors.get("labels"), texts, bad)


def _packed(names: Sequence[str]) -> Tensor:
    # file names cannot contain NUL
    return torch.frombuffer(bytearray("\0".join(names).encode("utf-8", "surrogateescape")), dtype=torch.uint8)


def _unpacked(names: Tensor) -> tuple[str, ...]:
    return tuple(bytes(names.numpy().data).decode("utf-8", "surrogateescape").split("\0"))
