"""SIGTERM at random moments, half of them twice: exit 143 within one step and a save, and nothing is lost."""

import random
import re
import time

from tests.torture._trials import GO_ON, STOP, TERM, TwoStages, scratch

COUNT = 100  # signals


def check(count: int, seed: int) -> str:
    draw, signals, runs, before, slowest = random.Random(seed), 0, 0, 0, 0.0
    with scratch() as folder:
        started = time.monotonic()
        whole = TwoStages(folder / "whole").finish()
        longest = (time.monotonic() - started) / 2
        while signals < count:
            stages = TwoStages(folder / f"{runs}")
            for stage in (0, 1):
                code = 143
                while code == 143:
                    trial = stages.start(stage)
                    until = draw.uniform(0, longest)
                    while (ended := trial.ended()) is None and time.monotonic() < trial.started + until:
                        time.sleep(0.001)
                    if ended is not None or signals == count:
                        code = trial.wait() if ended is None else ended
                        break
                    trial.signal(STOP)  # it stands still while its steps are counted
                    steps = [int(step) for step in re.findall(r"^step (\d+)", trial.output, re.MULTILINE)]
                    trial.signal(TERM)
                    trial.signal(GO_ON)
                    sent = time.monotonic()
                    if draw.random() < 0.5:
                        time.sleep(draw.uniform(0, 0.05))
                        trial.signal(TERM)  # impatience
                    code = trial.wait()
                    if code in (0, -TERM) and trial.output.count("vqvae: ") == 0:
                        continue  # it had ended, or not yet begun
                    signals += 1
                    slowest = max(slowest, time.monotonic() - sent)
                    assert code == 143, f"exit {code}: {trial.output}"
                    saved = re.search(r"saved at step (\d+); go on with: vqvae resume", trial.complaint())
                    before += saved is None
                    assert saved is None or int(saved[1]) <= max(steps, default=int(saved[1])) + 1, trial.output
                    stages.check_files()
                    assert not stages.leftovers(), stages.leftovers()
                assert code == 0, trial.output
            assert stages.outcome() == whole.outcome(), f"run {runs} ended otherwise than one that nothing stopped"
            runs += 1
    return (
        f"{signals} signals ({before} before the first step) in {runs} two-stage runs: exit 143, one line each, "
        f"at most one more step, {slowest:.2f} s at the longest; {runs} of {runs} runs ended bit-identical"
    )
