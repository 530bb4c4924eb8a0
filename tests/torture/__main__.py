"""The long checks: ``python -m tests.torture [NAME ...] [--count N] [--seed S]``, one line of figures each.

A check is a module here that has ``check``: its docstring says what it proves, ``COUNT`` how often by default, and
``check(count, seed)`` returns the line, or raises.
"""

import argparse
import importlib
import os
import sys
import time
import traceback
from pathlib import Path

# before torch is imported: a process of one thread may fork, and 8 of them share a core without waiting in turns
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    here = Path(__file__).parent
    known = sorted(path.stem for path in here.glob("*.py") if "\ndef check(" in path.read_text())
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--count", type=int, help="how often (default: each check's own)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: 0)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no check {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    failed = False
    for name in arguments.names or known:
        module = importlib.import_module(f"tests.torture.{name}")
        started = time.monotonic()
        try:
            line = module.check(arguments.count or module.COUNT, arguments.seed)
        except Exception as error:
            traceback.print_exc()
            failed, line = True, f"FAILED: {error}"
        print(f"{name}: {line} ({time.monotonic() - started:.0f} s)", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
