"""Progress of long work: a callback, and the bar that commands and notebooks show."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vqvae.screen import stderr

# called with the number of images, codes or shards that are done, and the number of all of them
Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """Show nothing."""


def advancing(progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that adds a count to the number that is done, and reports the sum."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance


@contextmanager
def bar(verb: str, unit: str) -> Iterator[Progress]:
    """Show a bar during the block; yield the function that is called with (done, total).

    The bar is shown on a terminal and in a notebook only.
    """
    with make_bar(desc=verb, unit=unit, leave=False) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress


def make_bar(**settings: Any) -> Any:
    """Return a bar of tqdm; it is shown on a terminal and in a notebook only."""
    with warnings.catch_warnings():
        # without ipywidgets, a notebook gets a bar of text, and tqdm warns about it
        warnings.filterwarnings("ignore", message=".*IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(disable=not someone_watches(), dynamic_ncols=True, file=stderr(), **settings)


def someone_watches() -> bool:
    """Return whether output goes to a terminal or a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return stderr().isatty() or (shell is not None and "IPKernelApp" in shell.config)
