"""Signals at random moments, half of them twice: an exit within one step and a save, and nothing is lost."""

import random
import re
import signal
import time

from tests.torture._trials import GO_ON, STOP, Moments, Trial, TwoStages, scratch

COUNT = 100  # signals
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)


def check(count: int, seed: int) -> str:
    draw, seconds, runs, before = random.Random(seed), list[float](), 0, 0
    with scratch() as folder:
        whole = TwoStages(folder / "whole").finish()
        moments = Moments(seed, whole.longest)
        while len(seconds) < count:
            stages = TwoStages(folder / f"{runs}")
            for stage in (0, 1):
                trial = stages.start(stage)
                while len(seconds) < count and moments.strike(trial):
                    took, begun = _terminate(trial, impatient=draw.random() < 0.5, draw=draw)
                    if took is None:  # it had just ended
                        break
                    seconds.append(took)
                    before += not begun
                    stages.check_files()
                    assert not stages.leftovers(), stages.leftovers()
                    trial = stages.start(stage)
                assert trial.wait() == 0, trial.output
            assert stages.outcome() == whole.outcome(), f"run {runs} ended otherwise than one that nothing stopped"
            runs += 1
    return (
        f"{count} signals ({before} before the first step) in {runs} two-stage runs: exit 128 + its number, "
        f"one line each, "
        f"at most one more step, {max(seconds):.2f} s at the longest; {runs} of {runs} runs ended bit-identical"
    )


def _terminate(trial: Trial, *, impatient: bool, draw: random.Random) -> tuple[float | None, bool]:
    """Send a signal; return the seconds until the end, None if it had ended, and whether it had made a step."""
    signals = [draw.choice(SIGNALS)]
    trial.signal(STOP)  # it stands still while its steps are counted
    steps = [int(step) for step in re.findall(r"^step (\d+)", trial.output, re.MULTILINE)]
    trial.signal(signals[0])
    trial.signal(GO_ON)
    sent = time.monotonic()
    if impatient:
        time.sleep(draw.uniform(0, 0.05))
        signals.append(draw.choice(SIGNALS))
        trial.signal(signals[1])
    code, took = trial.wait(), time.monotonic() - sent
    if code == 0:
        return None, True
    if code in [-signum for signum in signals] and not trial.output:
        return took, False  # the program had not begun
    assert code in [128 + signum for signum in signals], f"exit {code}: {trial.output}"
    line = trial.complaint()
    saved = re.search(r"saved at step (\d+); go on with: vqvae resume", line)
    assert saved or not steps or "\ndone: " in trial.output, trial.output
    assert not steps or saved is None or int(saved[1]) <= steps[-1] + 1, trial.output
    return took, bool(steps)
