"""What a store of codes and its shards hold: the header of a store, and the rows of a shard."""

from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from vqvae.component import STRICT, Count, CountOrZero
from vqvae.errors import UserError
from vqvae.tensors import smallest_dtype

Format = Literal["safetensors", "parquet"]
Side = Annotated[int, Field(gt=0, le=2**20)]
_MOST_SHARDS = 10**6


def check_shards(rows: int, rows_per_shard: int) -> None:
    """Check that a store would not have more shards than its format allows.

    Raises:
        UserError: when it would.
    """
    if rows > _MOST_SHARDS * rows_per_shard:
        raise UserError(
            f"{rows:,} images in shards of {rows_per_shard:,} are more than {_MOST_SHARDS:,} shards: make "
            "fewer images, or larger shards"
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StoreHeader:
    """The header of a store, written to ``store.json`` and to every shard.

    Attributes:
        tokenizer: the identity of the tokenizer's encoder and quantizer, in hexadecimal.
        shape: (h, w, n), the shape of the codes of an image.
        num_codes: number of codes K.
        image_shape: (C, H, W).
        rows: number of rows in the source, including rows that could not be decoded.
        rows_per_shard: shard k has the rows k * rows_per_shard to (k + 1) * rows_per_shard - 1.
        classes: the names of the classes.
        labelled: whether the rows have labels.
        origin: the source of the codes: a data set and its fingerprint, or a prior and the options of sampling.
        format: the format of the shards.
    """

    tokenizer: str
    shape: tuple[Side, Side, Side]
    num_codes: Annotated[int, Field(gt=1)]
    image_shape: tuple[Side, Side, Side]
    rows: CountOrZero
    rows_per_shard: Count
    classes: tuple[str, ...] = ()
    labelled: bool = False
    origin: dict[str, str | int | float | None] = Field(default_factory=dict[str, str | int | float | None])
    format: Format = "safetensors"

    def __post_init__(self) -> None:
        if self.num_shards > _MOST_SHARDS:
            raise ValueError(f"{self.rows} rows are more than {_MOST_SHARDS} shards of {self.rows_per_shard} rows")

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return -(-self.rows // self.rows_per_shard)

    @property
    def dtype(self) -> torch.dtype:
        """The smallest integer type that holds every code."""
        return smallest_dtype(self.num_codes)

    def rows_of(self, shard: int) -> range:
        """Return the rows of a shard."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.rows))


_HEADER = TypeAdapter(StoreHeader)
_LISTED = TypeAdapter(list[tuple[str, str]])


@plain_dataclass(frozen=True, eq=False)
class Shard:
    """Some rows of a store.

    Attributes:
        rows: int64 [m], ascending: the rows' numbers in the source.
        codes: [m, h, w, n], in the store's dtype.
        labels: int64 [m], or None.
        names: the rows' names in the source; empty where rows have no names.
        bad: (name, reason) of the rows that are missing because they could not be decoded.
    """

    rows: Tensor
    codes: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()


def header_from(values: Any, file: Path) -> StoreHeader:
    """Check the header in a file and return it.

    Raises:
        UserError: when it is not a header.
    """
    try:
        return _HEADER.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: damaged: {where[:80]}: {first['msg'][:120]}") from None


def plain_header(header: StoreHeader) -> dict[str, Any]:
    """Return a header as values that JSON has."""
    values = _HEADER.dump_python(header, mode="json")
    if header.format == "safetensors":
        del values["format"]
    return values


def bad_rows(value: Any, file: Path) -> tuple[tuple[str, str], ...]:
    """Check the list of rows that a shard lacks and return it.

    Raises:
        UserError: when it is not a list of names and reasons.
    """
    try:
        return tuple(_LISTED.validate_python(value, strict=False))
    except ValidationError:
        raise UserError(f"{file}: damaged: its list of bad rows is not a list") from None


def check_rows(shard: Shard, store: StoreHeader, rows: range, file: Path) -> None:
    """Check that a shard fits the header of its store.

    Raises:
        UserError: when its rows, codes, labels or names are others than the header says.
    """
    fits = _has_shape(shard, store) and len(shard.names) in (0, len(shard.rows)) and _in_range(shard, store, rows)
    if not fits:
        raise UserError(f"{file}: damaged: its tensors do not fit its header")


def _has_shape(shard: Shard, store: StoreHeader) -> bool:
    count = len(shard.rows) if shard.rows.ndim else 0
    tensors = {"rows": shard.rows, "codes": shard.codes}
    if shard.labels is not None:
        tensors["labels"] = shard.labels
    expected = {"rows": (torch.int64, (count,)), "codes": (store.dtype, (count, *store.shape))}
    if store.labelled:
        expected["labels"] = (torch.int64, (count,))
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()} == expected


def _in_range(shard: Shard, store: StoreHeader, rows: range) -> bool:
    if not len(shard.rows):
        return True
    ascending = bool((shard.rows.diff() > 0).all()) and rows.start <= int(shard.rows[0])
    codes = 0 <= int(shard.codes.min()) and int(shard.codes.max()) < store.num_codes
    labels = shard.labels is None or (
        0 <= int(shard.labels.min()) and int(shard.labels.max()) < max(len(store.classes), 1)
    )
    return ascending and int(shard.rows[-1]) < rows.stop and codes and labels
