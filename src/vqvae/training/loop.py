"""The one loop, for both stages.

Its state is model, averaged weights, optimizer and step, the same on every rank; everything else is a function of
the step. Rank 0 alone measures, draws, logs and writes.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW

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
from vqvae.training.metrics import JsonLines, Progress, Sink, TensorBoard
from vqvae.training.non_finite import NonFiniteGuard, all_finite
from vqvae.training.run import Run
from vqvae.training.weight_ema import WeightEMA
from vqvae.training.weights import Weights, WholeWeights

_LOG = logging.getLogger(__name__)
Metrics = dict[str, Tensor]


class Stage(Protocol):
    """What is trained: a tokenizer or a prior.

    Attributes:
        model: whose parameters the loop trains.
        criterion: what ``evaluate`` returns that is lowest in the best model.
    """

    model: nn.Module
    criterion: str

    def train_on(self, model: nn.Module) -> None:
        """Run the networks of a copy of ``model`` in ``loss``: ``model`` itself is no longer whole."""
        ...

    def rows_at_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a step's batch, over all ranks, and their epochs, both int64 [B]."""
        ...

    def loss(self, rows: Tensor, epochs: Tensor) -> tuple[Tensor, Metrics]:
        """Return the scalar to minimise for the rows of a batch, int64 [B], in their epochs, and metrics.

        All are means over the rows, finite where there are none.
        """
        ...

    def statistic(self) -> Tensor:
        """Return a scalar that is finite if all is that ``after_step`` is about to learn from and to change."""
        ...

    def drop_step(self) -> None:
        """Forget what the step's forwards noted for ``after_step``."""
        ...

    def after_step(self, step: int) -> Metrics:
        """Do what follows an optimizer step, such as the codebook's update."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Measure the model as it stands on held-out rows."""
        ...

    def draw(self, run: Run, step: int) -> None:
        """Save pictures of what the model does."""
        ...

    def save(self, path: Path, step: int, *, validation: float | None = None) -> None:
        """Write the model as it stands to a file, with the criterion's value where it was measured for it."""
        ...


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of step ``step`` (from 0): a linear rise, then a cosine to ``final_rate`` of the peak."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    progress = max(0, step - config.warmup) / max(1, config.steps - 1 - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * rise * (config.final_rate + (1 - config.final_rate) * cosine)


class Speed:
    """Steps a second from now on, after ``step`` steps."""

    def __init__(self, step: int) -> None:
        self.step, self.started = step, time.perf_counter()

    def since(self, step: int) -> float:
        """Return the steps a second up to now, after ``step`` steps."""
        return (step - self.step) / (time.perf_counter() - self.started)


def _sharded(stage: Stage) -> Weights:
    from vqvae.training.sharding import ShardedWeights  # a second of imports that other trainings do without

    weights = ShardedWeights(stage.model)
    stage.train_on(weights.trained)
    return weights


class Trainer:
    """Runs a stage's steps, from its newest checkpoint where there is one.

    Args:
        stage: what to train.
        config: of the loop.
        engine: where it runs.
        run: where everything is written.
    """

    def __init__(self, stage: Stage, config: TrainingConfig, engine: Engine, run: Run) -> None:
        self.stage, self.config, self.engine, self.run = stage, config, engine, run
        self.weights: Weights = _sharded(stage) if engine.sharded else WholeWeights(stage.model)
        parameters = list(self.weights.parameters.values())
        fused = engine.device.type in ("cpu", "cuda")
        self.optimizer = AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused, eps=1e-8
        )
        self.weight_ema = WeightEMA(self.weights.parameters, config.weight_ema)
        with in_turn(rank() == 0):  # which sets damaged checkpoints aside
            counts = load_newest(run.checkpoints, self.weights, self.weight_ema, self.optimizer)
        self.step = counts.get("step", 0)
        if max_over_ranks(self.step) != -max_over_ranks(-self.step):
            raise UserError(f"{run.path}: not the same on all ranks: put it on a disk that all hosts share")
        self.dropped = NonFiniteGuard(
            config.non_finite, counts.get("dropped", 0), counts.get("dropped_in_a_row", 0)
        )
        self.best = best_so_far(run.best)
        if rank() == 0:
            run.keep_metrics_until(self.step)
            check_space(run.checkpoints, self.weights, keep=config.keep)
        records = read_records(run.metrics) if rank() == 0 else []
        self.early_stopping = EarlyStopping(config.early_stopping, stage.criterion, records)

    def train(self) -> None:
        """Train to the last step.

        Raises:
            Interrupted: after a signal, with everything saved.
            UserError: when a loss, gradient or statistic is not finite; the last checkpoint is from before.
        """
        progress = Progress(self.step, self.config.steps)
        lines = JsonLines(self.run.metrics) if rank() == 0 else None
        sinks: list[Sink] = [lines, progress] if lines else []
        if self.config.tensorboard and lines:
            sinks.append(TensorBoard(self.run.tensorboard))
        try:
            with stop_on_signals() as stop:
                over = self._steps(stop, progress, lines, sinks)
                signum = max_over_ranks(stop.signum)  # here the others wait for rank 0 to save
                if signum:
                    raise Interrupted(signum, f"stopped and saved at step {self.step}")
            if over:
                _LOG.warning("%s: ended at step %d: out of training.early_stopping", self.run.path, self.step)
        finally:
            for sink in sinks:
                sink.close()

    def _steps(self, stop: StopRequest, progress: Progress, lines: JsonLines | None, sinks: list[Sink]) -> bool:
        """Run steps to the last, a stop, or the end of patience, with all that is due; say whether it was that."""
        if self._unmeasured():
            self._evaluate(sinks, stop)  # what a signal had cut short
        speed = Speed(self.step)
        signum, over = max_over_ranks(stop.signum), self._out_of_patience()  # all ranks leave at one step
        while self.step < self.config.steps and not over and not signum:
            metrics = self._step()
            progress.advance()
            if self._due(self.config.log_every):
                self._log(sinks, metrics, speed.since(self.step) * self.config.batch_size)
                speed = Speed(self.step)
            if self._due(self.config.evaluate_every):
                self._evaluate(sinks, stop)
                over = self._out_of_patience()
                speed = Speed(self.step)  # of training alone
            signum = max_over_ranks(stop.signum)  # asked once: one from here on is for the next step
            if self._due(self.config.checkpoint_every) or signum or over:
                if lines:
                    lines.sync()
                self._save()
        return over

    def _step(self) -> Metrics:
        """Run one optimizer step, or drop it where something of it is not finite; nothing has changed then."""
        metrics = self._gradients()
        judged = {
            "loss": metrics["loss"],
            "gradient": metrics["gradient_norm"],
            "statistic": sum_over_ranks(self.stage.statistic()),
        }
        if all_finite(*judged.values()):
            self.dropped.in_a_row = 0
            metrics |= self._apply()
        else:
            self.dropped.drop(self.step + 1, judged)
            self.optimizer.zero_grad(set_to_none=True)
            self.stage.drop_step()
        if self.dropped.all:
            metrics["dropped"] = torch.tensor(float(self.dropped.all))
        self.step += 1
        return metrics

    def _gradients(self) -> Metrics:
        """Add up the gradients of a step's micro-batches."""
        config = self.config
        drawn = int(noise.random_bits(config.seed, self.step))
        torch.manual_seed(drawn + rank())  # dropout: of (seed, step, rank)
        rows, epochs = self.stage.rows_at_step(self.step)
        metrics: Metrics = {}
        for part, when in zip(rows.chunk(config.accumulate), epochs.chunk(config.accumulate), strict=True):
            part, when = rank_slice(part), rank_slice(when)
            share = len(part) / len(rows)
            with translate_comm_errors():
                loss, found = self.stage.loss(part, when)
                (loss * share).backward()
            for name, value in {"loss": loss, **found}.items():
                metrics[name] = metrics.get(name, 0.0) + value.detach() * share
        return self.weights.reduce(metrics, config.clip)

    def _apply(self) -> Metrics:
        """Change weights, codebook and averages by a step's gradients and statistics."""
        rate = learning_rate(self.step, self.config) * self.dropped.back_off
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        metrics = self.stage.after_step(self.step)
        self.weight_ema.update(self.step)
        return metrics | {"learning_rate": torch.tensor(rate)}

    def _out_of_patience(self) -> bool:
        return bool(max_over_ranks(int(self.early_stopping.over)))  # rank 0 measures

    def _unmeasured(self) -> bool:
        due = self.step and self._due(self.config.evaluate_every) and rank() == 0
        return bool(max_over_ranks(int(due and not self.run.measured_at(self.step))))

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log(self, sinks: list[Sink], metrics: Metrics, images_per_second: float) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        values = {name: value for name, value in values.items() if math.isfinite(value)}  # of a dropped step
        for sink in sinks:
            sink.write(self.step, "train", values | {"images_per_second": images_per_second})

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Have the averaged weights in rank 0's model, in eval mode; every rank must call."""
        with self.weight_ema.in_place(), self.weights.in_model(), torch.no_grad():
            self.stage.model.eval()
            try:
                yield
            finally:
                self.stage.model.train()

    def _evaluate(self, sinks: list[Sink], stop: StopRequest) -> None:
        """Measure and draw, and keep the model where it is the best so far; a signal puts all that off."""
        with self._averaged():
            if rank() or stop:
                return
            try:
                with stop.at_once():
                    values = self.stage.evaluate()
                    self.stage.draw(self.run, self.step)
            except Interrupted:
                return
            value = values[self.stage.criterion]
            if value < self.best:
                self.stage.save(self.run.best, self.step, validation=value)
                self.best = value
        self.early_stopping.note(self.step, values)
        for sink in sinks:
            sink.write(self.step, "validation", values)

    def _save(self) -> None:
        """Write the model and then the checkpoint: a run goes on from it, so what belongs to it comes first."""
        with self._averaged():
            if rank() == 0:
                self.stage.save(self.run.model, self.step)
        counts = {"step": self.step, "dropped": self.dropped.all, "dropped_in_a_row": self.dropped.in_a_row}
        save_checkpoint(
            self.run.checkpoints, counts, self.weights, self.weight_ema, self.optimizer, keep=self.config.keep
        )
