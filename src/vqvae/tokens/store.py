"""Stores of codes: directories of shards. Every shard repeats the header of its store and can be read alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from vqvae.component import STRICT, Count, CountOrZero
from vqvae.errors import UserError
from vqvae.files import read_json, remove_leftovers, write_json
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tokens.work_queue import exclusive

STORE_KIND, SHARD_KIND, VERSION = "vqvae-code-store", "vqvae-code-shard", 3
STORE_FILE, LOCK_FILE = "store.json", "claims.lock"
_MOST_SHARDS = 10**6

Side = Annotated[int, Field(gt=0, le=2**20)]


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
        sizes = {torch.uint8: 2**8, torch.int16: 2**15, torch.int32: 2**31}
        return next((dtype for dtype, size in sizes.items() if self.num_codes <= size), torch.int64)

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


@plain_dataclass(frozen=True)
class Store:
    """A store.

    Attributes:
        path: its directory.
        header: the header of the store.
    """

    path: Path
    header: StoreHeader

    @classmethod
    def create(cls, path: Path, header: StoreHeader) -> "Store":
        """Make a store, or open the store at the path if its header is equal.

        Raises:
            UserError: when something else is at the path, or the directory cannot be made.
        """
        if path.exists() and not (path.is_dir() and (_is_store(path) or not any(path.iterdir()))):
            raise UserError(f"{path} exists and is not a store of codes: choose another folder for the store")
        try:
            path.mkdir(parents=True, exist_ok=True)
            with exclusive(path / LOCK_FILE):
                if not (path / STORE_FILE).exists():
                    write_json(path / STORE_FILE, {"kind": STORE_KIND, "version": VERSION, **_plain(header)})
        except OSError as error:
            raise UserError(f"{path}: cannot make the store: {error.strerror}") from None
        there = cls.open(path)
        if there.header != header:
            now, then = _plain(header), _plain(there.header)
            key = next(key for key in now if now[key] != then[key])
            raise UserError(
                f"{path} holds other codes, its {key} is {then[key]!r:.80}, not {now[key]!r:.80}: "
                "choose another directory"
            )
        remove_leftovers(path)
        return there

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store.

        Raises:
            UserError: when there is no store at the path, or its header is damaged.
        """
        file = Path(path) / STORE_FILE
        if not file.is_file():
            raise UserError(f"{path}: not a code store; vqvae encode makes one")
        values = read_json(file)
        if (values.pop("kind", None), values.pop("version", None)) != (STORE_KIND, VERSION):
            raise UserError(f"{file}: not the header of a {STORE_KIND}, version {VERSION}")
        return cls(Path(path), _header_from(values, file))

    def shard_file(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.path / f"codes-{shard:05d}-of-{self.header.num_shards:05d}.safetensors"

    def write(self, shard: int, content: Shard) -> None:
        """Write a shard that the caller has claimed. The same content gives the same bytes."""
        file = self.shard_file(shard)
        remove_leftovers(file.parent, of=file.name)  # left by an owner that died
        tensors = {"rows": content.rows, "codes": content.codes.to(self.header.dtype)}
        if content.labels is not None:
            tensors["labels"] = content.labels
        if content.names:
            tensors["names"] = _packed(content.names)
        header = {"store": _plain(self.header), "shard": shard, "bad": [list(bad) for bad in content.bad]}
        save_tensors(file, SHARD_KIND, VERSION, header, tensors)

    def read(self, shard: int) -> Shard:
        """Read a shard, and check that it is whole and belongs to this store.

        Raises:
            UserError: when the shard is missing, damaged, or of another store.
        """
        return read_shard(self.shard_file(shard), of=(self.header, shard))

    def is_whole(self, shard: int) -> bool:
        """Return whether a shard exists and is undamaged."""
        try:
            self.read(shard)
        except UserError:
            return False
        return True

    def shards(self) -> Iterator[Shard]:
        """Read all shards in order, one at a time.

        Raises:
            UserError: as ``read``.
        """
        return (self.read(shard) for shard in range(self.header.num_shards))


def read_shard(file: Path, *, of: tuple[StoreHeader, int] | None = None) -> Shard:
    """Read the file of a shard.

    Args:
        file: the file.
        of: the header and the number that the shard must have; None accepts any.

    Raises:
        UserError: when the shard is missing, damaged, or another one.
    """
    header, tensors = load_tensors(file, SHARD_KIND, VERSION)
    store, number = _header_from(header.get("store"), file), header.get("shard")
    if of is not None and (store, number) != of:
        raise UserError(f"{file}: not shard {of[1]} of this store; delete it and run again")
    if type(number) is not int or not 0 <= number < store.num_shards:
        raise UserError(f"{file}: damaged: shard {number!r:.20} of {store.num_shards}")
    try:
        bad = tuple(_LISTED.validate_python(header.get("bad"), strict=False))
    except ValidationError:
        raise UserError(f"{file}: damaged: its list of bad rows is not a list") from None
    found = (
        Shard(tensors["rows"], tensors["codes"], tensors.get("labels"), (), bad) if _fits(tensors, store) else None
    )
    names = _unpacked(tensors["names"]) if "names" in tensors else ()
    if (
        found is None
        or not _in_range(found, store, store.rows_of(number))
        or len(names) not in (0, len(found.rows))
    ):
        raise UserError(f"{file}: damaged: its tensors do not fit its header")
    return Shard(found.rows, found.codes, found.labels, names, bad)


def _fits(tensors: dict[str, Tensor], store: StoreHeader) -> bool:
    """Return whether names, types and shapes agree with the header."""
    count = len(tensors["rows"]) if "rows" in tensors and tensors["rows"].ndim else 0
    expected = {"rows": (torch.int64, (count,)), "codes": (store.dtype, (count, *store.shape))}
    if store.labelled:
        expected["labels"] = (torch.int64, (count,))
    names = tensors.get("names")
    if names is not None:
        expected["names"] = (torch.uint8, (names.numel(),))
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


def _header_from(values: Any, file: Path) -> StoreHeader:
    try:
        return _HEADER.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: damaged: {where[:80]}: {first['msg'][:120]}") from None


def _plain(header: StoreHeader) -> dict[str, Any]:
    return _HEADER.dump_python(header, mode="json")


def _is_store(path: Path) -> bool:
    # a process that died between making the lock and writing the header leaves only the lock
    return (path / STORE_FILE).exists() or {file.name for file in path.iterdir()} <= {LOCK_FILE}


def _packed(names: Sequence[str]) -> Tensor:
    # file names cannot contain NUL
    return torch.frombuffer(bytearray("\0".join(names).encode("utf-8", "surrogateescape")), dtype=torch.uint8)


def _unpacked(names: Tensor) -> tuple[str, ...]:
    return tuple(bytes(names.numpy().data).decode("utf-8", "surrogateescape").split("\0"))
