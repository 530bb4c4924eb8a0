"""kill -9 at random moments of a two-stage run, resumed each time: all files whole, the end bit-identical."""

from tests.torture._trials import KILL, Moments, TwoStages, scratch

COUNT = 200  # kills


def check(count: int, seed: int) -> str:
    kills, runs, begun = [0, 0], 0, 0
    with scratch() as folder:
        whole = TwoStages(folder / "whole").finish()
        moments = Moments(seed, whole.longest)
        while sum(kills) < count:
            stages = TwoStages(folder / f"{runs}")
            for stage in (0, 1):
                trial = stages.start(stage)
                while sum(kills) < count and moments.strike(trial):
                    trial.signal(KILL)
                    if trial.wait() == 0:  # it had just ended
                        break
                    kills[stage] += 1
                    begun += any(stages.runs[stage].glob("checkpoints/step-*"))
                    stages.check_files()
                    trial = stages.start(stage)
                assert trial.wait() == 0, trial.output
            assert stages.outcome() == whole.outcome(), f"run {runs} ended otherwise than one that nothing stopped"
            assert not stages.leftovers(), stages.leftovers()
            runs += 1
    return (
        f"{sum(kills)} kills ({kills[0]} of the tokenizer, {kills[1]} of the prior, {begun} after a checkpoint) "
        f"in {runs} two-stage runs: 0 files half, {runs} of {runs} runs bit-identical to an uninterrupted one"
    )
