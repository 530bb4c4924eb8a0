"""Progress bars on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vqvae.screen import stderr


@contextmanager
def bar(verb: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; yield the function that a use case calls with (done, total).

    Nothing is shown where standard error is not a terminal.
    """
    from tqdm import tqdm

    with tqdm(desc=verb, unit=unit, leave=False, disable=None, dynamic_ncols=True, file=stderr()) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress
