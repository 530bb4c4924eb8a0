"""A shard of codes as parquet, which other programs read: ``datasets``, pandas, polars, DuckDB.

The columns are ``codes`` ([h][w][n], nested lists), ``row``, and where rows have them ``label`` and ``name``.
"""

# pyarrow ships no types, so everything that comes from it is unknown to the checker.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vqvae.errors import FormatError, UserError
from vqvae.files import write_atomically
from vqvae.tensorfile import checksum
from vqvae.tokens.header import Shard, StoreHeader, bad_rows, plain_header

KIND, VERSION = "vqvae-code-parquet", 1


def write(file: Path, store: StoreHeader, number: int, content: Shard) -> None:
    """Write a shard atomically; with one version of pyarrow, the same content gives the same bytes."""
    codes = content.codes.to(store.dtype)
    names = [_utf8(name) for name in content.names]
    columns: dict[str, Any] = {"codes": nested_lists(codes), "row": pa.array(content.rows.numpy())}
    if content.labels is not None:
        columns["label"] = pa.array(content.labels.numpy())
    if names:
        columns["name"] = pa.array(names, pa.string())
    said = {
        "kind": KIND,
        "version": VERSION,
        "store": plain_header(store),
        "shard": number,
        "bad": [list(bad) for bad in content.bad],
    }
    stamp = json.dumps({**said, "crc32": _crc(said, content.rows, codes, content.labels, names)}, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({"vqvae": stamp, "huggingface": _features(store, columns)})
    encoded = io.BytesIO()
    pq.write_table(table, encoded, compression="zstd", use_dictionary=False, write_statistics=False)
    write_atomically(file, encoded.getvalue())


def read(file: Path) -> tuple[dict[str, Any], Shard]:
    """Read what the header says and the rows, whose shapes are unchecked.

    Raises:
        UserError: when the file is missing, damaged, or has no header.
    """
    try:
        table = pq.read_table(io.BytesIO(file.read_bytes()))
        said: Any = json.loads((table.schema.metadata or {}).get(b"vqvae", b"{}"))
        names: list[Any] = table["name"].to_pylist() if "name" in table.column_names else []
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise FormatError(f"{file}: damaged or not parquet: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(said, dict) or (said.get("kind"), said.get("version")) != (KIND, VERSION):
        raise UserError(f"{file}: not a {KIND} file of version {VERSION}")
    found: dict[str, Any] = said
    codes = codes_of_column(table, file)
    rows = _numbers(table, "row", file)
    labels = _numbers(table, "label", file) if "label" in table.column_names else None
    if rows is None or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: damaged: its columns do not fit its header")
    if found.pop("crc32", None) != _crc(found, rows, codes, labels, names):
        raise FormatError(f"{file}: damaged: its checksum does not match; restore the file or make it again")
    return found, Shard(rows, codes, labels, tuple(names), bad_rows(found.get("bad"), file))


def codes_of_column(table: Any, file: Path) -> Tensor:
    """Return the column ``codes`` of a table, [m, ...], in the type of the column.

    Raises:
        UserError: when there is no such column of whole numbers, a value is missing, or rows have other shapes.
    """
    if "codes" not in table.column_names:
        raise UserError(f"{file}: no column 'codes'; it has {', '.join(table.column_names)[:200]}")
    values, shape = table["codes"].combine_chunks(), [len(table)]
    values = values.storage if isinstance(values, pa.ExtensionArray) else values
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        inner = values.flatten()
        if values.null_count or len(inner) % max(len(values), 1):
            raise UserError(f"{file}: column 'codes': rows of other shapes, or without codes")
        size = len(inner) // max(len(values), 1)
        if len(values) and not bool((values.value_lengths().to_numpy() == size).all()):
            raise UserError(f"{file}: column 'codes': rows of other shapes")
        shape, values = [*shape, size], inner
    if not pa.types.is_integer(values.type) or values.null_count:
        raise UserError(f"{file}: column 'codes': {values.type}, not whole numbers in nested lists")
    array = values.to_numpy(zero_copy_only=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype("int64")  # torch has few operations on wider unsigned types
    return torch.tensor(array).view(shape)


def nested_lists(codes: Tensor) -> Any:
    """Return codes [m, h, w, n] as a column of nested lists [h][w][n], in the type of the tensor."""
    values: Any = pa.array(codes.contiguous().flatten().numpy())
    for axis in (3, 2, 1):
        size = codes.shape[axis]
        offsets = pa.array(range(0, len(values) + 1, size), pa.int32())
        values = pa.ListArray.from_arrays(offsets, values)
    return values


def _features(store: StoreHeader, columns: dict[str, Any]) -> str:
    """Return the types of the columns as ``datasets`` reads them."""
    dtype = str(store.dtype).removeprefix("torch.")
    names = list(store.classes)
    label = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    kinds: dict[str, Any] = {
        "codes": {"shape": list(store.shape), "dtype": dtype, "_type": "Array3D"},
        "row": {"dtype": "int64", "_type": "Value"},
        "label": label,
        "name": {"dtype": "string", "_type": "Value"},
    }
    return json.dumps({"info": {"features": {name: kinds[name] for name in columns}}})


def _numbers(table: Any, name: str, file: Path) -> Tensor | None:
    if name not in table.column_names:
        return None
    column = table[name].combine_chunks()
    if not pa.types.is_integer(column.type) or column.null_count:
        raise UserError(f"{file}: damaged: column '{name}' is not of whole numbers")
    return torch.tensor(column.to_numpy(zero_copy_only=False)).long()


def _crc(said: dict[str, Any], rows: Tensor, codes: Tensor, labels: Tensor | None, names: list[str]) -> int:
    tensors = {"rows": rows, "codes": codes, "names": _bytes(names)}
    return checksum(said, tensors if labels is None else {**tensors, "labels": labels})


def _utf8(name: str) -> str:
    """Return a name with escapes for the bytes that are not UTF-8: parquet holds UTF-8 alone."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _bytes(names: list[str]) -> Tensor:
    return torch.tensor(bytearray("\0".join(names).encode()), dtype=torch.uint8)
