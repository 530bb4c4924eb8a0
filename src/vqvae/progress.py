"""How long work reports its progress: a callback, and the bar that a command or a notebook makes of it."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vqvae.screen import stderr

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


@contextmanager
def bar(verb: str, unit: str) -> Iterator[Progress]:
    """Show a bar while the block runs; yield the function that a use case calls with (done, total).

    The bar is shown on a terminal and in a notebook, and nowhere else.
    """
    with make_bar(desc=verb, unit=unit, leave=False) as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress


def make_bar(**settings: Any) -> Any:
    """Return a bar of tqdm, a notebook's own in a notebook; nothing is shown where no one watches."""
    with warnings.catch_warnings():
        # without ipywidgets, a notebook gets a bar of text, and tqdm a warning that there is nothing better
        warnings.filterwarnings("ignore", message=".*IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(disable=not someone_watches(), dynamic_ncols=True, file=stderr(), **settings)


def someone_watches() -> bool:
    """Say whether a bar is of use: on a terminal, and in a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return stderr().isatty() or (shell is not None and "IPKernelApp" in shell.config)
