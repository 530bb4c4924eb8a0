"""kill -9 at random moments of a two-stage run, resumed each time: all files whole, the end bit-identical."""

import random
import time

from tests.torture._trials import KILL, TwoStages, scratch

COUNT = 200  # kills


def check(count: int, seed: int) -> str:
    draw, kills, runs, begun = random.Random(seed), [0, 0], 0, 0
    with scratch() as folder:
        started = time.monotonic()
        whole = TwoStages(folder / "whole").finish()
        longest = (time.monotonic() - started) / 2
        while sum(kills) < count:
            stages = TwoStages(folder / f"{runs}")
            for stage in (0, 1):
                while True:
                    trial = stages.start(stage)
                    until = draw.uniform(0, longest)
                    while (code := trial.ended()) is None and time.monotonic() < trial.started + until:
                        time.sleep(0.001)
                    if code is None and sum(kills) < count:
                        trial.signal(KILL)
                        trial.wait()
                        kills[stage] += 1
                        begun += any(stages.runs[stage].glob("checkpoints/step-*"))
                        stages.check_files()
                        continue
                    code = trial.wait() if code is None else code
                    assert code == 0, trial.output
                    break
            assert stages.outcome() == whole.outcome(), f"run {runs} ended otherwise than one that nothing stopped"
            assert not stages.leftovers(), stages.leftovers()
            runs += 1
    return (
        f"{sum(kills)} kills ({kills[0]} of the tokenizer, {kills[1]} of the prior, {begun} after a checkpoint) "
        f"in {runs} two-stage runs: 0 files half, {runs} of {runs} runs bit-identical to an uninterrupted one"
    )
