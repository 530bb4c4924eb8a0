"""Stores of codes: directories of shards. Every shard repeats the header of its store and can be read alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqvae.errors import UserError
from vqvae.files import read_json, remove_leftovers, write_json
from vqvae.tokens import parquet_shards, safetensors_shards
from vqvae.tokens.header import Shard, StoreHeader, check_rows, header_from, plain_header
from vqvae.tokens.work_queue import exclusive

STORE_KIND, VERSION = "vqvae-code-store", 3
STORE_FILE, LOCK_FILE = "store.json", "claims.lock"


@dataclass(frozen=True)
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
                    write_json(path / STORE_FILE, store_json(header))
        except OSError as error:
            raise UserError(f"{path}: cannot make the store: {error.strerror}") from None
        there = cls.open(path)
        if there.header != header:
            now, then = plain_header(header), plain_header(there.header)
            key = next(key for key in [*now, *then] if now.get(key) != then.get(key))
            raise UserError(
                f"{path} holds other codes, its {key} is {then.get(key)!r:.80}, not {now.get(key)!r:.80}: "
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
        return cls(Path(path), header_from(values, file))

    def shard_file(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.path / f"codes-{shard:05d}-of-{self.header.num_shards:05d}.{self.header.format}"

    def write(self, shard: int, content: Shard) -> None:
        """Write a shard that the caller has claimed. The same content gives the same bytes."""
        file = self.shard_file(shard)
        remove_leftovers(file.parent, of=file.name)  # left by an owner that died
        write = parquet_shards.write if self.header.format == "parquet" else safetensors_shards.write
        write(file, self.header, shard, content)

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
        file: the file; its name ends in ``.parquet`` or ``.safetensors``.
        of: the header and the number that the shard must have; None accepts any.

    Raises:
        UserError: when the shard is missing, damaged, or another one.
    """
    return read_headed_shard(file, of=of)[1]


def read_headed_shard(file: Path, *, of: tuple[StoreHeader, int] | None = None) -> tuple[StoreHeader, Shard]:
    """Read the file of a shard, and the header of its store; the arguments are those of ``read_shard``.

    Raises:
        UserError: as ``read_shard``.
    """
    read = parquet_shards.read if file.suffix.lower() == ".parquet" else safetensors_shards.read
    said, shard = read(file)
    store, number = header_from(said.get("store"), file), said.get("shard")
    if of is not None and (store, number) != of:
        raise UserError(f"{file}: not shard {of[1]} of this store; delete it and run again")
    if type(number) is not int or not 0 <= number < store.num_shards:
        raise UserError(f"{file}: damaged: shard {number!r:.20} of {store.num_shards}")
    check_rows(shard, store, store.rows_of(number), file)
    return store, shard


def store_json(header: StoreHeader) -> dict[str, Any]:
    """Return the content of ``store.json``."""
    return {"kind": STORE_KIND, "version": VERSION, **plain_header(header)}


def _is_store(path: Path) -> bool:
    # a process that died between making the lock and writing the header leaves only the lock
    return (path / STORE_FILE).exists() or {file.name for file in path.iterdir()} <= {LOCK_FILE}
