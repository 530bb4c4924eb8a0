"""The one loop, for both stages.

Its state is model, averaged weights, optimizer and step; everything else is a function of the step.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vqvae import noise
from vqvae.config import TrainingConfig
from vqvae.data import rows_at_step
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.training.average import AveragedWeights
from vqvae.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from vqvae.training.engine import Engine
from vqvae.training.interruption import Interrupted, stop_on_signals
from vqvae.training.metrics import JsonLines, Progress, Sink, TensorBoard
from vqvae.training.patience import Patience
from vqvae.training.run import Run

_LOG = logging.getLogger(__name__)
Metrics = dict[str, Tensor]


class Stage(Protocol):
    """What is trained: a tokenizer or a prior.

    Attributes:
        model: whose parameters the loop trains.
        num_rows: of the training set.
    """

    model: nn.Module
    num_rows: int

    def loss(self, rows: Tensor, epochs: Tensor) -> tuple[Tensor, Metrics]:
        """Return the scalar to minimise for the rows of a batch, int64 [B], in their epochs, and metrics."""
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

    def save(self, run: Run, step: int) -> None:
        """Write the model as it stands to the run's model file."""
        ...


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the rate of step ``step`` (from 0): a linear rise, then a cosine to ``final_rate`` of the peak."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    progress = max(0, step - config.warmup) / max(1, config.steps - 1 - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * rise * (config.final_rate + (1 - config.final_rate) * cosine)


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
        parameters = list(stage.model.parameters())
        fused = engine.device.type in ("cpu", "cuda")
        self.optimizer = AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused, eps=1e-8
        )
        self.average = AveragedWeights(stage.model, config.average)
        self.step = 0
        found = checkpoints(run.checkpoints)
        if found:
            self.step = load_checkpoint(found[-1], stage.model, self.average, self.optimizer)
            run.keep_metrics_until(self.step)
        self.patience = Patience(config.patience, read_records(run.metrics) if found else [])

    def train(self) -> None:
        """Train to the last step.

        Raises:
            Interrupted: after a signal, with everything saved.
            UserError: when the loss is no longer finite; the last checkpoint is from before.
        """
        progress = Progress(self.step, self.config.steps)
        sinks: list[Sink] = [JsonLines(self.run.metrics), progress]
        if self.config.tensorboard:
            sinks.append(TensorBoard(self.run.path / "tensorboard"))
        try:
            with stop_on_signals() as stop:
                if self.step and self._due(self.config.evaluate_every) and self.step not in self.patience.steps:
                    self._evaluate(sinks)  # the signal that stopped the run here skipped it
                since, started = self.step, time.perf_counter()
                while self.step < self.config.steps and not self.patience.over:
                    metrics = self._step()
                    progress.advance()
                    if self._due(self.config.log_every):
                        seconds = time.perf_counter() - started
                        speed = (self.step - since) * self.config.batch_size / seconds
                        self._log(sinks, metrics, speed)
                        since, started = self.step, time.perf_counter()
                    if self._due(self.config.evaluate_every) and not stop:
                        self._evaluate(sinks)
                        since, started = self.step, time.perf_counter()
                    if self._due(self.config.checkpoint_every) or stop or self.patience.over:
                        self._check_finite(metrics)
                        self._save()
                    if stop and self.step < self.config.steps and not self.patience.over:
                        how = f"vqvae resume {self.run.path}"
                        raise Interrupted(stop.signum, f"stopped and saved at step {self.step}; go on with: {how}")
            if self.patience.over:
                _LOG.warning("%s: ended at step %d: out of training.patience", self.run.path, self.step)
        finally:
            for sink in sinks:
                sink.close()

    def _step(self) -> Metrics:
        """Run one optimizer step over its micro-batches."""
        config, model = self.config, self.stage.model
        torch.manual_seed(int(noise.random_bits(config.seed, self.step)))  # dropout: of (seed, step)
        rows, epochs = rows_at_step(
            self.step, batch_size=config.batch_size, num_rows=self.stage.num_rows, seed=config.seed
        )
        metrics: Metrics = {}
        for part, when in zip(rows.chunk(config.accumulate), epochs.chunk(config.accumulate), strict=True):
            loss, found = self.stage.loss(part, when)
            share = len(part) / len(rows)
            (loss * share).backward()
            for name, value in {"loss": loss, **found}.items():
                metrics[name] = metrics.get(name, 0.0) + value.detach() * share
        limit = config.clip or math.inf
        metrics["gradient_norm"] = nn.utils.clip_grad_norm_(model.parameters(), limit)
        rate = learning_rate(self.step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        metrics |= self.stage.after_step(self.step)
        self.average.update(self.step)
        metrics["learning_rate"] = torch.tensor(rate)
        self.step += 1
        return metrics

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _log(self, sinks: list[Sink], metrics: Metrics, images_per_second: float) -> None:
        self._check_finite(metrics)
        values = {name: float(value) for name, value in metrics.items()}
        for sink in sinks:
            sink.write(self.step, "train", values | {"images_per_second": images_per_second})

    def _check_finite(self, metrics: Metrics) -> None:
        if not all(math.isfinite(metrics[name]) for name in ("loss", "gradient_norm")):
            raise UserError(
                f"{self.run.path}: the loss is no longer finite at step {self.step}: "
                "train again with a lower --training.learning_rate"
            )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights in place, in eval mode."""
        with self.average.in_place(), torch.no_grad():
            self.stage.model.eval()
            try:
                yield
            finally:
                self.stage.model.train()

    def _evaluate(self, sinks: list[Sink]) -> None:
        with self._averaged():
            values = self.stage.evaluate()
            self.stage.draw(self.run, self.step)
        self.patience.note(self.step, values)
        for sink in sinks:
            sink.write(self.step, "heldout", values)

    def _save(self) -> None:
        config = self.config
        save_checkpoint(
            self.run.checkpoints, self.step, self.stage.model, self.average, self.optimizer, keep=config.keep
        )
        with self._averaged():
            self.stage.save(self.run, self.step)
