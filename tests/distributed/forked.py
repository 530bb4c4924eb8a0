"""Several ranks at the price of one interpreter: fork after the imports, with torchrun's environment in each."""

import os
import socket
import sys
import traceback
from collections.abc import Callable


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fork_ranks(world: int, work: Callable[[], None]) -> list[int]:
    """Run ``work`` in ``world`` processes, where process_group() finds its ranks; return their exit codes."""
    port, children = str(free_port()), []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            os.environ.update({name: str(value) for name, value in ranks.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            os._exit(_code(work))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _code(work: Callable[[], None]) -> int:
    try:
        work()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
