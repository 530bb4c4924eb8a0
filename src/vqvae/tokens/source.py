"""Codes to decode: of a store, of one shard, or of another program."""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import hashlib
import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.tensors import CodeSpec
from vqvae.tokens.header import Shard, StoreHeader
from vqvae.tokens.parquet_shards import codes_of_column
from vqvae.tokens.store import Store, read_headed_shard

_ENDINGS = (".parquet", ".safetensors", ".npy", ".npz")
_ROWS_PER_SHARD = 4096


class CodeSource(Protocol):
    """Codes in numbered shards.

    The header's ``tokenizer`` is empty if the file does not say which tokenizer made the codes.
    """

    @property
    def header(self) -> StoreHeader:
        """The header."""
        ...

    def read(self, shard: int) -> Shard:
        """Read a shard."""
        ...


class CodesInMemory:
    """The codes of one file.

    Args:
        header: of one shard, or of several.
        whole: all rows.
    """

    def __init__(self, header: StoreHeader, whole: Shard) -> None:
        self.header, self.whole = header, whole

    def read(self, shard: int) -> Shard:
        """Return some rows."""
        rows = self.header.rows_of(shard)
        part = slice(rows.start, rows.stop)
        labels = None if self.whole.labels is None else self.whole.labels[part]
        return Shard(self.whole.rows[part], self.whole.codes[part], labels, self.whole.names[part], self.whole.bad)


def open_codes(path: Path, spec: CodeSpec, image_shape: tuple[int, int, int]) -> CodeSource:
    """Open codes for a tokenizer.

    Args:
        path: a store; one shard of a store; or the codes of another program, whole numbers [N, h, w] or
            [N, h, w, n] in a ``.npy`` file, in the array ``codes`` or the only array of a ``.npz`` file, or as
            nested lists in the column ``codes`` of a parquet file.
        spec: the codes that the tokenizer has for the images of its training.
        image_shape: (C, H, W) of these images. Codes of another grid belong to larger or smaller images.

    Raises:
        UserError: when there are no codes at the path, they are damaged, or their shape or numbers do not fit.
    """
    ending = path.suffix.lower()
    if ending not in _ENDINGS or path.is_dir():
        return Store.open(path)
    if ending == ".safetensors" or (ending == ".parquet" and _is_shard(path)):
        header, shard = read_headed_shard(path)
        return CodesInMemory(_of_one_file(header, len(shard.rows), path), shard)
    codes = _array(path)
    codes = codes[..., None] if codes.ndim == 3 else codes
    if codes.ndim != 4 or not codes.numel() or codes.shape[3] != spec.codes_per_position:
        raise UserError(
            f"{path}: shape {list(codes.shape)}: the tokenizer needs codes [N, h, w, {spec.codes_per_position}]"
            + (", or [N, h, w]" if spec.codes_per_position == 1 else "")
        )
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= spec.num_codes:
        most = spec.num_codes - 1
        raise UserError(f"{path}: codes from {low} to {high}: the tokenizer has the codes 0 to {most}")
    channels, height, width = image_shape
    count, h, w, n = codes.shape
    header = StoreHeader(
        tokenizer="",
        shape=(h, w, n),
        num_codes=spec.num_codes,
        image_shape=(channels, height // spec.grid[0] * h, width // spec.grid[1] * w),
        rows=count,
        rows_per_shard=_ROWS_PER_SHARD,
        origin={"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    return CodesInMemory(header, Shard(torch.arange(count), codes.to(header.dtype)))


def _of_one_file(header: StoreHeader, count: int, path: Path) -> StoreHeader:
    """Return the header of a shard by itself: all of its rows are one shard."""
    return replace(header, rows=count, rows_per_shard=max(count, 1), origin={**header.origin, "shard": path.name})


def _is_shard(path: Path) -> bool:
    try:
        return b"vqvae" in (pq.read_schema(path).metadata or {})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: damaged or not parquet: {' '.join(str(error).split())[:120]}") from None


def _array(path: Path) -> Tensor:
    try:
        found = _column(path) if path.suffix.lower() == ".parquet" else _numpy_array(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())[:120]}") from None
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise UserError(f"{path}: {str(found.dtype).removeprefix('torch.')}: codes are whole numbers")
    return found


def _column(path: Path) -> Tensor:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if "codes" not in names:
        raise UserError(f"{path}: no column 'codes'; it has {', '.join(names)[:200]}")
    return codes_of_column(file.read(columns=["codes"]), path)


def _numpy_array(path: Path) -> Tensor:
    found: Any = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if not isinstance(found, np.ndarray):
        names = list(found.files)
        name = "codes" if "codes" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise UserError(f"{path}: arrays {', '.join(names)[:200]}: name the array of codes 'codes'")
        found = found[name]
    if found.dtype.kind not in "iufcb":
        raise UserError(f"{path}: {found.dtype}: codes are whole numbers")
    return torch.from_numpy(found.astype(np.int64) if found.dtype.kind in "iu" else found)
