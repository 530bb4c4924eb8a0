"""Every shard of a store done once, with a bar that counts its images, and one line where it cannot be written."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from vqvae.errors import UserError
from vqvae.tokens.store import StoreHeader
from vqvae.tokens.work_queue import work_through


def each_shard(
    header: StoreHeader, locks: Path, verb: str, *, done: Callable[[int], bool], make: Callable[[int], None]
) -> None:
    """Do every shard that is not done, as ``work_through`` does pieces; ``verb`` names the bar."""
    with tqdm(total=header.rows, desc=verb, unit="image", leave=False, disable=None) as bar:

        def tick(shard: int) -> None:
            bar.update(len(header.rows_of(shard)))

        work_through(locks, header.num_shards, done=done, make=make, tick=tick)


@contextmanager
def writes(what: str, out: str) -> Generator[None, None, None]:
    """Raise UserError for an OSError of what is written to ``out``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{out}: cannot write {what}: {error.strerror}; what is whole is kept") from None
