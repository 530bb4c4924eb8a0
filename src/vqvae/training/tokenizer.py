"""The first stage: train a tokenizer on images."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vqvae.config import MEASURED_ROWS, TokenizerConfig
from vqvae.data import Images, ImageSet, ImageStream
from vqvae.distributed import rank_slice
from vqvae.metrics import Batch, Measurement, Models, measured_in
from vqvae.metrics.gradients import gradient_norms
from vqvae.model_card import tokenizer_card
from vqvae.model_io import ModelFile, build_tokenizer, save_model
from vqvae.models import VQVAE, objective
from vqvae.quantizers.tracker import forget, statistic_of
from vqvae.report.pictures import pairs, save_png
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.training.engine import Engine, Network
from vqvae.training.extra_losses import ExtraLosses
from vqvae.training.initial import freeze, start_tokenizer
from vqvae.training.run import Run
from vqvae.training.stage import MODEL, Metrics, StepLosses, Trainable

ESTIMATION_ROWS = 2048  # training images on which buffers of the likelihood are estimated
_BATCH = 256
_LEAST_VARIANCE = 1e-12


class TokenizerStage:
    """Minimises equation 3 of arXiv 1711.00937 and the terms of the run's ``losses`` on batches of images.

    Args:
        config: the config of the run.
        train: the training images.
        validation: the images to measure on.
        engine: device, precision and compilation.
        init: the file of the trained tokenizer to start from; None starts from random weights.
    """

    criterion = "nmse"

    def __init__(
        self,
        config: TokenizerConfig,
        train: Images,
        validation: ImageSet,
        engine: Engine,
        init: ModelFile | None = None,
    ) -> None:
        self.config, self.train, self.validation, self.engine = config, train, validation, engine
        training = config.training
        self.tokenizer: VQVAE = _tokenizer_for(config, train, init).to(
            device=engine.device,
            memory_format=torch.channels_last,  # pyright: ignore[reportCallIssue]
        )
        frozen = freeze(self.tokenizer, config.freeze)
        batch = len(rank_slice(torch.arange(training.batch_size // training.accumulate)))
        z_q = self._z_q(batch)
        self.extra = ExtraLosses(
            config.losses,
            image_shape=train.shape,
            seed=training.seed,
            engine=engine,
            decoder=self.tokenizer.decoder,
            z_q=z_q,
        )
        self.groups = {MODEL: Trainable(self.tokenizer, frozen=frozen), **self.extra.groups}
        self.likelihood = self.tokenizer.likelihood
        self._estimated: tuple[int, dict[str, Tensor]] = (-1, {})  # step of the last estimate, and the estimate
        # the quantizer is not compiled: its search is exact in eager float32, and is tiled already
        images = self._images(torch.zeros(batch, *train.shape, dtype=torch.uint8))
        self.encoder: Network = engine.compile(self.tokenizer.encoder, images)
        self.decoder: Network = engine.compile(self.tokenizer.decoder, z_q)

    def _z_q(self, batch: int) -> Tensor:
        """Return an example of what the decoder takes."""
        _, height, width = self.train.shape
        factor, channels = self.tokenizer.factor, self.tokenizer.quantizer.channels
        z_q = torch.zeros(batch, channels, height // factor, width // factor, device=self.engine.device)
        return z_q.to(memory_format=torch.channels_last).requires_grad_()

    def train_on(self, modules: Mapping[str, nn.Module]) -> None:
        """Run the networks of these copies in ``losses``; the quantizer is still the tokenizer's own."""
        tokenizer = modules[MODEL]
        assert isinstance(tokenizer, VQVAE)
        self.encoder, self.decoder = tokenizer.encoder, tokenizer.decoder
        self.likelihood = tokenizer.likelihood
        self.extra.train_on(modules)

    def _images(self, pixels: Tensor) -> Tensor:
        moved = pixels.to(self.engine.device, non_blocking=True)
        return images_from_pixels(moved).contiguous(memory_format=torch.channels_last)

    def rows_at_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a step's batch, over all ranks, and their epochs, both int64 [B]."""
        rows, epochs = self._order(step)
        if isinstance(self.train, ImageStream):
            soon, _ = self._order(step + self.train.prefetch_steps(self.config.training.batch_size))
            self.train.prefetch(self._own(rows), self._own(soon))
        return rows, epochs

    def _order(self, step: int) -> tuple[Tensor, Tensor]:
        training = self.config.training
        return self.train.rows_at_step(step, batch_size=training.batch_size, seed=training.seed)

    def _own(self, rows: Tensor) -> Tensor:
        """Return this rank's rows of a batch, of all micro-batches."""
        return torch.cat([rank_slice(part) for part in rows.chunk(self.config.training.accumulate)])

    def losses(self, step: int, rows: Tensor, epochs: Tensor) -> StepLosses:
        """Return the objective of a batch and the losses of the other groups; their terms are metrics."""
        views = self.config.data.augmentation(self.config.training.seed)
        images = self._images(views.of(self.train.pixels_of(rows), rows, views.choose(rows, epochs)))
        with self.engine.autocast():
            z_e = self.encoder(images)
            quantized = self.tokenizer.quantizer(z_e)
            parameters = self.decoder(quantized.z_q)
        parameters = parameters.view_as(parameters)  # a tensor without the hooks of sharding, to take gradients at
        loss = objective(
            images,
            parameters,
            quantized,
            likelihood=self.likelihood,
            pixel_variance=self.tokenizer.pixel_variance,
            beta=self.config.beta,
        )
        metrics = loss._asdict()
        total = metrics.pop("total")
        if not self.extra.losses:
            return StepLosses({MODEL: total}, metrics)
        reconstruction = self.likelihood.mean(parameters)
        extra = self.extra.on_batch(step, images, parameters, reconstruction, loss.reconstruction)
        return StepLosses({MODEL: total + extra.total, **extra.own}, extra.metrics | metrics)

    def statistic(self) -> Tensor:
        """Return a scalar that is finite if the codebook and the statistics for its next update are finite."""
        return statistic_of(self.tokenizer)

    def drop_step(self) -> None:
        """Discard the statistics for the codebook's next update."""
        forget(self.tokenizer)
        self.extra.drop_step()

    def after_step(self, step: int) -> Metrics:
        """Update the codebook, unless it is frozen, and what losses average."""
        self.extra.after_step(step)
        if "quantizer" in self.config.freeze:
            return {}
        revive = step < self.config.revive_until * self.config.training.steps
        return self.tokenizer.quantizer.update(revive=revive)

    def _decoded_training_images(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the first training images: parameters of the likelihood, and pixels."""
        for pixels in self.train.some(ESTIMATION_ROWS).split(_BATCH):
            codes = self.tokenizer.encode(self._images(pixels))
            yield self.tokenizer.decode_parameters(codes), pixels

    def evaluate(self) -> dict[str, float]:
        """Measure the first validation images; gradients are measured on the first batch."""
        models = Models(self.tokenizer)
        whole = self.tokenizer.likelihood.whole_in_training  # else saving estimates its buffers
        rows = [row for row in measured_in("validation") if whole or not row.reads_likelihood]
        measurement = Measurement(models, rows)
        pixels = self.validation.pixels[:MEASURED_ROWS]
        for part in pixels.split(_BATCH):
            z_e = self.tokenizer.encoder(self._images(part))
            measurement.add(Batch(models, part, self.tokenizer.quantizer.codes(z_e), z_e=z_e))
        return {
            **{name: value for name, value in measurement.values().items() if value is not None},
            **gradient_norms(self.tokenizer, self._images(pixels[:_BATCH]), beta=self.config.beta),
        }

    def draw(self, run: Run, step: int) -> Path:
        """Save the first validation images above their reconstructions; return the file."""
        pixels = self.validation.pixels[:32]
        codes = self.tokenizer.encode(self._images(pixels))
        reconstruction = pixels_from_images(self.tokenizer.decode(codes)).cpu()
        file = run.samples / f"reconstructions-{step:08d}.png"
        save_png(pairs(pixels, reconstruction), file)
        return file

    def histograms(self) -> dict[str, Tensor]:
        """Return the codes of the first validation images, and the mean squared error of each image."""
        images = self._images(self.validation.pixels[:_BATCH])
        codes = self.tokenizer.encode(images)
        errors = (self.tokenizer.decode(codes) - images).square().flatten(1).mean(1)
        return {"codes": codes.flatten().cpu(), "squared_error": errors.cpu()}

    def save(self, path: Path, step: int, *, validation: float | None = None) -> None:
        """Write the tokenizer, with the likelihood's buffers estimated on the first training images."""
        if self._estimated[0] != step:
            self._estimated = step, self.tokenizer.likelihood.estimate(self._decoded_training_images())
        # the estimate goes into the file, not into the module: a run must not depend on when it was saved
        estimated = {f"likelihood.{name}": value for name, value in self._estimated[1].items()}
        card = tokenizer_card(
            self.config.model, classes=self.train.classes, image_shape=self.train.shape, step=step
        )
        card = replace(card, validation=validation, trained_with=self.extra.feature_networks)
        save_model(path, {**self.tokenizer.state_dict(), **estimated}, card)


def _tokenizer_for(config: TokenizerConfig, train: Images, init: ModelFile | None) -> VQVAE:
    """Make the tokenizer of a run, on the CPU: from random weights, or from a trained tokenizer."""
    tokenizer = build_tokenizer(
        config.model,
        channels=train.shape[0],
        forwards_per_update=config.training.accumulate,
        seed=config.training.seed,
    )
    if init is not None:
        start_tokenizer(tokenizer, init, config, train)
    variance = train.pixel_variance
    # constant images have no variance: their loss is the plain squared error
    tokenizer.pixel_variance.fill_(variance if variance > _LEAST_VARIANCE else 1.0)
    return tokenizer
