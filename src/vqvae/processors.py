"""How many processors this process may use, and threads that share them with other work."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

# turns of a loop: OpenMP's own choice where threads outnumber processors; docs/log.md has the measurements
_SPINS = "1000"


def processors() -> int:
    """Return the number of processors that this process may use, at least 1.

    It is the number in the process's affinity mask (``taskset``, Slurm), or the quota of its control group (a
    container's ``--cpus``) rounded up, whichever is less.
    """
    return max(1, math.ceil(min(_in_affinity_mask(), _quota())))


def share_processors() -> None:
    """Set up the threads of torch for a machine that does other work too; call this before torch is imported.

    Threads that wait for the next operation soon sleep. By default OpenMP lets them spin, so two processes on the
    same processors take time from each other while neither computes. The number of threads follows a control
    group's quota, which OpenMP does not know. Environment variables that the user has set keep their values.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    if (allowed := processors()) < _in_affinity_mask():
        os.environ.setdefault("OMP_NUM_THREADS", str(allowed))


def _in_affinity_mask() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # systems without affinity masks: macOS, Windows


def _quota() -> float:
    """Return the processors that the control groups of this process allow; infinity where there is no limit."""
    return min(map(_limit, _control_groups()), default=math.inf)


def _control_groups() -> Iterator[Path]:
    """Yield the directories of this process's control groups that limit processors, of version 1 or 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        names = controllers.split(",")
        mounts = ["", "unified"] if not controllers else ["cpu", controllers] if "cpu" in names else []
        for mount in mounts:
            root = Path("/sys/fs/cgroup", mount)
            # the limit of a parent holds too; in a container the path may be the host's, and its root our own
            yield from (root / Path(path.lstrip("/")), *(root / up for up in Path(path.lstrip("/")).parents))


def _limit(group: Path) -> float:
    """Return the processors that one control group allows."""
    try:
        if (limits := group / "cpu.max").exists():  # version 2
            quota, period = limits.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
