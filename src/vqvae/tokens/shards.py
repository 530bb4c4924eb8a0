"""Make every shard of a store once, together with other processes."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from vqvae.errors import UserError, what_failed
from vqvae.progress import Progress, advancing
from vqvae.tokens.store import StoreHeader
from vqvae.tokens.work_queue import work_through


def each_shard(
    header: StoreHeader,
    locks: Path,
    *,
    done: Callable[[int], bool],
    make: Callable[[int], None],
    progress: Progress,
) -> None:
    """Make every shard that is not done, as ``work_through`` makes pieces.

    Args:
        header: the header of the store.
        locks: the lock file.
        done: returns whether a shard is done.
        make: makes a shard.
        progress: called with the number of images in finished shards and the number of all images.
    """
    advance = advancing(progress, header.rows)
    work_through(
        locks, header.num_shards, done=done, make=make, tick=lambda shard: advance(len(header.rows_of(shard)))
    )


@contextmanager
def report_write_errors(what: str, out: str) -> Generator[None, None, None]:
    """Turn an OSError in the block into a UserError that names what was written and where."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{out}: cannot write {what}: {what_failed(error)}; finished shards are kept") from None
