"""How long work reports its progress, without knowing who shows it."""

from collections.abc import Callable

# called with how many of how many images, codes or shards are done
Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """Show nothing."""


def advancing(progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that adds to what is done and reports the sum."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance
