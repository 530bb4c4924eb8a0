"""One command, from its words to its exit code."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from vqvae.cli.parsing import parse
from vqvae.cli.printing import rank
from vqvae.errors import ArgumentError, RankLost, UserError, is_out_of_memory, what_failed
from vqvae.interruption import Interrupted, ignore_signals, interrupt_on_signals
from vqvae.processors import share_processors
from vqvae.screen import drop_output, stderr

_RANK_0_FIRST = 5.0  # seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    The exit code is 0 for success, 1 if ``doctor`` finds something wrong, and 2 for an error that the user can
    mend. After a signal it is 128 plus the number of the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """
    share_processors()
    before, sys.stderr = sys.stderr, stderr()
    try:
        _run(argv)
    finally:
        sys.stderr = before
        drop_output()


def _run(argv: Sequence[str] | None) -> None:
    # only rank 0 logs: all ranks have the same messages
    logging.basicConfig(format="%(message)s", level=logging.ERROR if rank() else logging.WARNING)
    logging.getLogger("vqvae.data.stream").setLevel(logging.WARNING)  # all ranks: each reads other rows
    try:
        with interrupt_on_signals():
            arguments = parse(sys.argv[1:] if argv is None else argv)
            arguments.call(arguments)
            sys.stdout.flush()  # inside the try, so that a failure is reported in one line
    except ArgumentError as error:
        _end(f"--{error.name.replace('_', '-')} {error.problem}", 2)
    except UserError as error:
        _end(str(error), 2)
    except RankLost as error:
        _end(str(error), 1)
    except Interrupted as stop:
        if argv is None:  # the process ends here: a second signal must not change its exit code
            ignore_signals()
        _end(str(stop), stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            _end(_out_of_memory(error, sys.argv[1:] if argv is None else argv), 2)
        if not isinstance(error, OSError):
            raise  # a bug
        _end(what_failed(error), 2)  # a full disk, a directory without write permission, a broken device


def _out_of_memory(error: BaseException, words: Sequence[str]) -> str:
    """Return the line for memory that was not enough, with what helps the command."""
    helps = {
        "train": "use a smaller --training.batch_size, or --data.stream true for data that do not fit",
        "prior": "use a smaller --training.batch_size, or --data.stream true for data that do not fit",
        "resume": "free memory, or go on with --device cpu or on a machine with more; what was saved is whole",
    }
    device = "the device" if "cuda" in str(error).lower() else "this machine"
    return f"out of memory: {device} has not enough; {helps.get(words[0], 'free memory, or use another --device')}"


def _end(message: str, code: int) -> NoReturn:
    """Print the reason in one line and exit.

    Under torchrun, rank 0 prints it at once, and torchrun then ends the other ranks. Another rank waits first, so
    it prints only what rank 0 did not meet.
    """
    if rank():
        time.sleep(_RANK_0_FIRST)
        message = f"rank {rank()}: {message}"
    if not rank() or code in (1, 2):
        print(f"vqvae: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
