"""8 processes start on one run directory at once: each time one of them owns it, the others hear who does."""

import os
import re
import time

from tests.torture._trials import KILL, Trial, TwoStages, scratch

COUNT = 50  # starts of 8 processes
PROCESSES = 8


def check(count: int, seed: int) -> str:
    named = 0
    with scratch() as folder:
        stages = TwoStages(folder / "run")
        for start in range(count):
            # in turn: a new directory, and a run whose last owner was killed
            if start % 2 == 0:
                stages.runs[0] = folder / f"run-{start}"
            argv = stages.argv(0, "--steps", "1000000")
            gate, opener = os.pipe()
            trials = [Trial(argv, folder / f"log-{i}", gate=gate) for i in range(PROCESSES)]
            os.write(opener, b"." * PROCESSES)
            running, deadline = list(trials), time.monotonic() + 60
            while len(running) > 1:
                assert time.monotonic() < deadline, f"start {start}: {len(running)} processes own the run"
                for trial in running.copy():
                    if (code := trial.ended()) is not None:
                        assert code == 2, f"start {start}: exit {code}: {trial.output}"
                        running.remove(trial)
                time.sleep(0.001)
            assert running, f"start {start}: no process owns the run"
            os.close(gate)
            os.close(opener)
            [owner] = running
            for trial in trials:
                if trial is not owner:
                    line = trial.complaint()
                    assert "in use by" in line or "is not overwritten" in line, line
                    if who := re.search(r"in use by process (\d+)", line):
                        assert int(who[1]) == owner.pid, f"start {start}: {line}, but {owner.pid} owns it"
                        named += 1
            while not (stages.runs[0] / "config.yaml").exists():  # it owns it: it goes on alone
                assert owner.ended() is None and time.monotonic() < deadline, owner.output
                time.sleep(0.001)
            owner.signal(KILL)
            owner.wait()
    refused = count * (PROCESSES - 1)
    return (
        f"{count} starts of {PROCESSES} processes: one owner each time, {refused} refused with exit 2, one line, "
        f"{named} of them with the owner's number; each owner then killed"
    )
