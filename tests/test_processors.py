"""The processors that a process may use follow its affinity mask and the quota of its control group."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COUNT = "import vqvae.processors as p; p.share_processors(); import os; print(p.processors(), end=' ');"
COUNT += "print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('GOMP_SPINCOUNT'))"


def _counted(command: str = COUNT, prefix: tuple[str, ...] = (), **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    run = [*prefix, sys.executable, "-c", command]
    return subprocess.run(
        run, env={**kept, **environment}, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.fixture
def half_a_processor() -> Iterator[Path]:
    """A control group, version 1 or 2, with a quota of half a processor; removed afterwards."""
    for root, quota in ((Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us"), (Path("/sys/fs/cgroup"), "cpu.max")):
        group = root / f"vqvae-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / quota).write_text("50000" if quota.endswith("us") else "50000 100000")
            yield group
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("no control group can be made here; it takes root")


def test_a_containers_quota_limits_decoders_and_torchs_threads(half_a_processor: Path) -> None:
    inside = ("sh", "-c", f'echo $$ > {half_a_processor}/cgroup.procs; exec "$@"', "sh")
    threads = ["1", "1"] if len(os.sched_getaffinity(0)) > 1 else ["1", "None"]
    assert _counted(prefix=inside) == [*threads, "1000"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity masks")
def test_an_affinity_mask_limits_them_too() -> None:
    command = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {COUNT}"
    assert _counted(command) == ["1", "None", "1000"]  # OpenMP follows the mask by itself


def test_what_the_user_has_set_stays() -> None:
    found = _counted(GOMP_SPINCOUNT="7", OMP_NUM_THREADS="3")
    assert found[1:] == ["3", "7"] and 1 <= int(found[0]) <= (os.cpu_count() or 1)


def test_a_command_trains_on_threads_that_sleep_while_they_wait() -> None:
    command = (
        "import os, sys\nfrom vqvae.cli import main\ntry:\n    main(['info', 'no-such-run'])\n"
        "except SystemExit as end:\n    print(end.code, os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    assert _counted(command) == ["2", "1000", "True"]
