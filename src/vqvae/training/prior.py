"""The second stage: train a prior on the codes of a trained tokenizer."""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae import noise
from vqvae.config import MEASURED_ROWS, PriorConfig
from vqvae.data import rows_at_step
from vqvae.distributed import rank_slice
from vqvae.metrics.baselines import count_codes, pooled, unigram_nats
from vqvae.model_card import prior_card
from vqvae.model_io import ModelFile, build_prior, save_model
from vqvae.priors import Prior
from vqvae.report.pictures import grid, save_png
from vqvae.sampling import labels_in_turn, sample
from vqvae.tensors import CodeSpec, pixels_from_images
from vqvae.training.code_cache import CodeOrigin, CodeSet
from vqvae.training.engine import Engine
from vqvae.training.initial import start_prior
from vqvae.training.run import Run
from vqvae.training.stage import MODEL, Metrics, StepLosses, Trainable

SAMPLES = 64
_BATCH = 256


class PriorStage:
    """Fits a prior to stored codes by maximum likelihood (arXiv 1711.00937, section 3.3).

    Args:
        config: the config of the run.
        train: the training codes.
        validation: the codes to measure on.
        engine: device, precision and compilation.
        origin: what made the codes; its tokenizer decodes samples.
        init: the file of the trained prior to start from; None starts from random weights.

    Attributes:
        classes: the names of the training codes' classes, where the prior is conditioned on them.
        controls: how the samples of ``draw`` are drawn.
        counts: how often each code occurs at each position of the training codes, int64 [h, w, n, K].
        baselines: the unigram baselines on the validation codes, in bits per code.
    """

    criterion = "bits_per_code_prior"

    def __init__(
        self,
        config: PriorConfig,
        train: CodeSet,
        validation: CodeSet,
        engine: Engine,
        origin: CodeOrigin,
        init: ModelFile | None = None,
    ) -> None:
        self.config, self.train, self.validation, self.engine = config, train, validation, engine
        self.origin = origin
        self.classes = train.classes if config.classes else ()
        self.controls = config.sampling.fitting(classes=bool(self.classes))
        height, width, n = train.codes.shape[2:]
        prior = build_prior(
            config.model,
            CodeSpec((height, width), n, origin.num_codes),
            seed=config.training.seed,
            num_classes=len(self.classes),
        )
        if init is not None:
            start_prior(prior, init, config, origin.identity)
        self.prior: Prior = prior.to(device=engine.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.groups = {MODEL: Trainable(self.prior)}
        self.counts = count_codes(train.codes, self.prior.spec.num_codes)
        self.baselines = {
            "bits_per_code_unigram": self._unigram_bits(pooled(self.counts)),
            "bits_per_code_position_unigram": self._unigram_bits(self.counts),
        }
        batch = len(rank_slice(torch.arange(config.training.batch_size // config.training.accumulate)))
        example = torch.zeros(batch, height, width, n, dtype=torch.int64, device=engine.device)
        labels = [torch.zeros(batch, dtype=torch.int64, device=engine.device)] if config.classes else []
        self.network = engine.compile(self.prior, example, *labels)

    def train_on(self, modules: Mapping[str, nn.Module]) -> None:
        """Run this copy of the prior in ``losses``."""
        self.network = modules[MODEL]

    def _unigram_bits(self, counts: Tensor) -> float:
        return float(unigram_nats(self.validation.codes[0, :MEASURED_ROWS].long(), counts).mean()) / log(2)

    def rows_at_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a step's batch, over all ranks, and their epochs, both int64 [B]."""
        training = self.config.training
        return rows_at_step(step, batch_size=training.batch_size, num_rows=len(self.train), seed=training.seed)

    def losses(self, step: int, rows: Tensor, epochs: Tensor) -> StepLosses:
        """Return the mean negative log-likelihood of a code, in nats, on the rows of a batch."""
        seed = self.config.training.seed
        codes = (
            self.train.codes[self.config.data.augmentation(seed).choose(rows, epochs), rows]
            .to(self.engine.device)
            .long()
        )
        labels = self._labels(self.train, rows)
        if labels is not None:
            hidden = noise.uniform(seed, 1, epochs, rows) < self.config.class_dropout
            labels = labels.masked_fill(hidden.to(labels.device), self.prior.num_classes)
        with self.engine.autocast():
            logits = self.network(codes) if labels is None else self.network(codes, labels)
        nats = F.cross_entropy(logits.float().flatten(0, 3), codes.flatten(), reduction="sum")
        loss = nats / max(1, codes.numel())
        return StepLosses({MODEL: loss}, {"bits_per_code_prior": loss / log(2)})

    def _labels(self, codes: CodeSet, rows: Tensor) -> Tensor | None:
        if not self.prior.num_classes or codes.labels is None:
            return None
        return codes.labels[rows].to(self.engine.device)

    def statistic(self) -> Tensor:
        """Return a finite scalar: a prior has no statistics."""
        return torch.zeros((), device=self.engine.device)

    def drop_step(self) -> None:
        """Do nothing: a prior collects no statistics."""

    def after_step(self, step: int) -> Metrics:
        """Return no metrics: nothing follows a prior's step."""
        return {}

    def _nats_per_code(self, codes: CodeSet) -> float:
        rows = torch.arange(min(MEASURED_ROWS, len(codes)))
        nats = 0.0
        for part in rows.split(_BATCH):
            grid_of_codes = codes.codes[0, part].to(self.engine.device).long()
            nats -= float(self.prior.log_prob(grid_of_codes, self._labels(codes, part)).cpu().double().sum())
        return nats / codes.codes[0, rows].numel()

    def evaluate(self) -> dict[str, float]:
        """Measure validation codes and, in the same way, as many training codes; add the baselines."""
        nats, train_nats = self._nats_per_code(self.validation), self._nats_per_code(self.train)
        return {
            "bits_per_code_prior": nats / log(2),
            "bits_per_code_prior_train": train_nats / log(2),
            "overfit_bits": (nats - train_nats) / log(2),
            **self.baselines,
        }

    def draw(self, run: Run, step: int) -> Path | None:
        """Save decoded samples, one class per row for a prior with classes; None without a tokenizer."""
        if self.origin.tokenizer is None:
            return None
        labels = labels_in_turn(range(SAMPLES), self.prior.num_classes)
        codes = sample(self.prior, SAMPLES, labels=labels, controls=self.controls, device=self.engine.device)
        pixels = pixels_from_images(self.origin.tokenizer.decode(codes)).cpu()
        file = run.samples / f"samples-{step:08d}.png"
        save_png(grid(pixels, columns=8), file)
        return file

    def histograms(self) -> dict[str, Tensor]:
        """Return the bits per code of each of the first validation images."""
        rows = torch.arange(min(_BATCH, len(self.validation)))
        codes = self.validation.codes[0, rows].to(self.engine.device).long()
        nats = -self.prior.log_prob(codes, self._labels(self.validation, rows))
        return {"bits_per_code": nats.cpu() / (log(2) * codes[0].numel())}

    def save(self, path: Path, step: int, *, validation: float | None = None) -> None:
        """Write the prior."""
        card = prior_card(
            self.config.model,
            self.prior,
            classes=self.classes,
            image_shape=self.train.image_shape,
            tokenizer=self.origin.identity,
            step=step,
        )
        save_model(path, self.prior.state_dict(), replace(card, validation=validation))
