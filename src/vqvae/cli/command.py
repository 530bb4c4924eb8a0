"""One command, from its words to its exit code."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from vqvae.cli.parsing import parse
from vqvae.cli.printing import rank
from vqvae.errors import ArgumentError, RankLost, UserError, what_failed
from vqvae.interruption import Interrupted, interrupt_on_signals
from vqvae.screen import drop_output, stderr

_RANK_0_FIRST = 5.0  # seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    It exits with 0, with 1 for a doctor's finding, with 2 for what the user can mend, and with 128 + the signal's
    number after a signal: 130 for Ctrl-C, 143 for SIGTERM.
    """
    before, sys.stderr = sys.stderr, stderr()
    try:
        _run(argv)
    finally:
        sys.stderr = before
        drop_output()


def _run(argv: Sequence[str] | None) -> None:
    # of torchrun's processes one speaks, for all say the same
    logging.basicConfig(format="%(message)s", level=logging.ERROR if rank() else logging.WARNING)
    logging.getLogger("vqvae.data.stream").setLevel(logging.WARNING)  # of a stream each reads what no other does
    try:
        with interrupt_on_signals():
            arguments = parse(sys.argv[1:] if argv is None else argv)
            arguments.call(arguments)
            sys.stdout.flush()  # here, where a failure gets its line
    except ArgumentError as error:
        _end(f"--{error.name.replace('_', '-')} {error.problem}", 2)
    except UserError as error:
        _end(str(error), 2)
    except RankLost as error:
        _end(str(error), 1)
    except Interrupted as stop:
        _end(str(stop), stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # a full disk, a directory that is not ours to write in, a broken device
        _end(what_failed(error), 2)


def _end(message: str, code: int) -> NoReturn:
    """Say why in one line and exit.

    Of torchrun's processes rank 0 says it, and torchrun then ends the others; only what befell another rank alone
    is left to say after a while.
    """
    if rank():
        time.sleep(_RANK_0_FIRST)
        message = f"rank {rank()}: {message}"
    if not rank() or code in (1, 2):
        print(f"vqvae: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
