"""The training loop of both stages.

The state of a run is the step and, for each group, the weights, the averaged weights and the optimizer. The state
is the same on every rank. Everything else is a function of the step. Only rank 0 measures, draws, logs and writes.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from vqvae import noise
from vqvae.config import TrainingConfig
from vqvae.distributed import in_turn, max_over_ranks, rank, rank_slice, sum_over_ranks, translate_comm_errors
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.interruption import Interrupted, StopRequest, stop_on_signals
from vqvae.model_io import best_so_far
from vqvae.training.checkpoint import check_space, load_newest, save_checkpoint
from vqvae.training.early_stopping import EarlyStopping
from vqvae.training.engine import Engine
from vqvae.training.group import make_groups
from vqvae.training.metrics import JsonLines, Progress, Sink
from vqvae.training.non_finite import NonFiniteGuard, all_finite
from vqvae.training.run import Run
from vqvae.training.stage import Metrics, Stage
from vqvae.training.trackers import Tracker, make_trackers

_LOG = logging.getLogger(__name__)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step, from 0: a linear warmup, then a cosine decay to ``final_rate``."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    progress = max(0, step - config.warmup) / max(1, config.steps - 1 - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * rise * (config.final_rate + (1 - config.final_rate) * cosine)


class Speed:
    """Measures the steps per second from the moment after ``step`` steps."""

    def __init__(self, step: int) -> None:
        self.step, self.started = step, time.perf_counter()

    def since(self, step: int) -> float:
        """Return the mean number of steps per second up to the moment after ``step`` steps."""
        return (step - self.step) / (time.perf_counter() - self.started)


class Trainer:
    """Trains a stage, from the run's newest checkpoint if there is one.

    Args:
        stage: the stage to train.
        config: the settings of the loop.
        engine: device, precision and compilation.
        run: the run that everything is written to.
    """

    def __init__(self, stage: Stage, config: TrainingConfig, engine: Engine, run: Run) -> None:
        self.stage, self.config, self.run = stage, config, run
        self.groups = make_groups(stage, config, engine)
        with in_turn(rank() == 0):  # rank 0 renames damaged checkpoints
            counts = load_newest(run.checkpoints, self.groups)
        self.step = counts.get("step", 0)
        if max_over_ranks(self.step) != -max_over_ranks(-self.step):
            raise UserError(f"{run.path}: it differs between ranks: put it on a disk that all hosts share")
        self.dropped = NonFiniteGuard(
            config.non_finite, counts.get("dropped", 0), counts.get("dropped_in_a_row", 0)
        )
        self.best = best_so_far(run.best)
        if rank() == 0:
            run.keep_metrics_until(self.step)
            check_space(run.checkpoints, self.groups, keep=config.keep)
        records = read_records(run.metrics) if rank() == 0 else []
        self.early_stopping = EarlyStopping(config.early_stopping, stage.criterion, records)
        self.trackers: list[Tracker] = []

    def train(self) -> None:
        """Train to the last step.

        Raises:
            Interrupted: after a signal, when everything is saved.
            UserError: when a loss, gradient or statistic is not finite; the newest checkpoint is from before.
        """
        progress = Progress(self.step, self.config.steps)
        lines = JsonLines(self.run.metrics) if rank() == 0 else None
        sinks: list[Sink] = [lines, progress] if lines else []
        self.trackers = make_trackers(self.config.tracker, self.run) if lines else []
        sinks += self.trackers
        try:
            with stop_on_signals() as stop:
                stopped_early = self._steps(stop, progress, lines, sinks)
                signum = max_over_ranks(stop.signum)  # the other ranks wait here until rank 0 has saved
                if signum:
                    raise Interrupted(signum, f"stopped and saved at step {self.step}")
            if stopped_early:
                _LOG.warning("%s: ended at step %d by training.early_stopping", self.run.path, self.step)
        finally:
            for sink in sinks:
                sink.close()

    def _steps(self, stop: StopRequest, progress: Progress, lines: JsonLines | None, sinks: list[Sink]) -> bool:
        """Run steps to the last one, a signal or early stopping; return whether early stopping ended the run."""
        if self._evaluation_missing():
            self._evaluate(sinks, stop)  # a signal had interrupted it
        speed = Speed(self.step)
        signum, over = max_over_ranks(stop.signum), self._early_stop()  # all ranks leave at the same step
        while self.step < self.config.steps and not over and not signum:
            metrics = self._step()
            progress.advance()
            if self._due(self.config.log_every):
                self._log(sinks, metrics, speed.since(self.step) * self.config.batch_size)
                speed = Speed(self.step)
            if self._due(self.config.evaluate_every):
                self._evaluate(sinks, stop)
                over = self._early_stop()
                speed = Speed(self.step)  # the speed of training, without measurements
            signum = max_over_ranks(stop.signum)  # read once per step: a later signal ends the next step
            if self._due(self.config.checkpoint_every) or signum or over:
                if lines:
                    lines.sync()
                self._save()
        return over

    def _step(self) -> Metrics:
        """Run one optimizer step; drop it if a loss, gradient or statistic is not finite."""
        metrics, active = self._gradients()
        judged = {said: value for name in active for said, value in self.groups[name].judged(metrics).items()}
        judged["statistic"] = sum_over_ranks(self.stage.statistic())
        if all_finite(*judged.values()):
            self.dropped.in_a_row = 0
            metrics |= self._apply(active)
        else:
            self.dropped.drop(self.step + 1, judged | self._terms(metrics))
            for group in self.groups.values():
                group.forget()
            self.stage.drop_step()
        if self.dropped.all:
            metrics["dropped"] = torch.tensor(float(self.dropped.all))
        self.step += 1
        return metrics

    def _gradients(self) -> tuple[Metrics, list[str]]:
        """Sum the gradients of a step's micro-batches; return the metrics and the groups that have a loss."""
        config, sums = self.config, dict[str, Metrics]()
        drawn = int(noise.random_bits(config.seed, self.step))
        torch.manual_seed(drawn + rank())  # dropout is a function of (seed, step, rank)
        rows, epochs = self.stage.rows_at_step(self.step)
        for part, when in zip(rows.chunk(config.accumulate), epochs.chunk(config.accumulate), strict=True):
            part, when = rank_slice(part), rank_slice(when)
            share = len(part) / len(rows)
            with translate_comm_errors():
                losses, found = self.stage.losses(self.step, part, when)
                for loss in losses.values():
                    (loss * share).backward()
            for name, loss in losses.items():
                group, total = self.groups[name], sums.setdefault(name, {})
                for metric, value in {group.metric("loss"): loss, **found}.items():
                    total[metric] = total.get(metric, 0.0) + value.detach() * share
                found = {}  # metrics are summed over ranks with the first group's loss
        metrics: Metrics = {}
        for name, scalars in sums.items():
            metrics |= self.groups[name].reduce(scalars)
        return metrics, list(sums)

    def _apply(self, active: list[str]) -> Metrics:
        """Update weights, codebook and averages from the gradients and statistics of a step."""
        rate = learning_rate(self.step, self.config) * self.dropped.back_off
        for name in active:
            self.groups[name].step(rate)
        metrics = self.stage.after_step(self.step)
        for name in active:
            self.groups[name].weight_ema.update(self.step)
        return metrics | {"learning_rate": torch.tensor(rate)}

    def _terms(self, metrics: Metrics) -> Metrics:
        """Return the metrics that are terms of a loss."""
        of_groups = {group.metric(name) for group in self.groups.values() for name in ("loss", "gradient_norm")}
        return {name: value for name, value in metrics.items() if name not in of_groups}

    def _early_stop(self) -> bool:
        return bool(max_over_ranks(int(self.early_stopping.over)))  # only rank 0 measures

    def _evaluation_missing(self) -> bool:
        due = self.step and self._due(self.config.evaluate_every) and rank() == 0
        return bool(max_over_ranks(int(due and not self.run.measured_at(self.step))))

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log(self, sinks: list[Sink], metrics: Metrics, images_per_second: float) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        values = {
            name: value for name, value in values.items() if math.isfinite(value)
        }  # not so in a dropped step
        for sink in sinks:
            sink.write(self.step, "train", values | {"images_per_second": images_per_second})

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights into rank 0's modules, in eval mode, for the block; every rank must call."""
        with ExitStack() as stack, torch.no_grad():
            for group in self.groups.values():
                stack.enter_context(group.averaged())
            yield

    def _evaluate(self, sinks: list[Sink], stop: StopRequest) -> None:
        """Measure, draw, and save the model if it is the best so far; after a signal, ``resume`` does this."""
        with self._averaged():
            if rank() or stop:
                return
            try:
                with stop.at_once():
                    values = self.stage.evaluate()
                    self._show(self.stage.draw(self.run, self.step))
            except Interrupted:
                return
            value = values[self.stage.criterion]
            if value < self.best:
                self.stage.save(self.run.best, self.step, validation=value)
                self.best = value
        self.early_stopping.note(self.step, values)
        for sink in sinks:
            sink.write(self.step, "validation", values)

    def _show(self, picture: Path | None) -> None:
        """Give the picture and the histograms of a measurement to the trackers."""
        histograms = self.stage.histograms() if self.trackers else {}
        for tracker in self.trackers:
            if picture is not None:
                tracker.picture(self.step, picture.stem.rpartition("-")[0], picture)
            for name, values in histograms.items():
                tracker.histogram(self.step, name, values)

    def _save(self) -> None:
        """Write the model, then the checkpoint: every checkpoint must have its model."""
        with self._averaged():
            if rank() == 0:
                self.stage.save(self.run.model, self.step)
        counts = {"step": self.step, "dropped": self.dropped.all, "dropped_in_a_row": self.dropped.in_a_row}
        save_checkpoint(self.run.checkpoints, counts, self.groups, keep=self.config.keep)
