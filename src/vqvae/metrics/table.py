"""The table of metrics: the name, the unit and the meaning of every metric that is shown or recorded.

To add a metric, add its row and the accumulator that the row names. A module from outside calls ``add_metric``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.bits import CodeBits, ImageBits
from vqvae.metrics.codes import CodeUse, QuantizationError
from vqvae.metrics.depths import RateByDepth
from vqvae.metrics.features import FeatureDistances
from vqvae.metrics.images import NMSE, PSNR, SSIM, ImageCount
from vqvae.metrics.lpips import LPIPS

Better = Literal["lower", "higher", "neither"]
When = Literal["evaluation", "validation"]


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        name: the name in records, in JSON and on the terminal.
        title: the title on the page of ``vqvae report``.
        unit: the unit of the number; "" for a pure number.
        better: which values are better.
        meaning: what the number is.
        accumulator: computes the metric over a split. Rows with the same accumulator share its sums. None:
            training computes the metric.
        when: where the accumulator runs: ``evaluation`` is ``vqvae evaluate``, ``validation`` is the measurement
            of a tokenizer while it is trained.
        in_log: whether the lines that training prints show the metric.
    """

    name: str
    title: str
    unit: str
    better: Better
    meaning: str
    accumulator: type[Accumulator] | None = None
    when: tuple[When, ...] = ("evaluation",)
    in_log: bool = False

    @property
    def direction(self) -> str:
        """Which values are better, in words; "" for neither."""
        return "" if self.better == "neither" else f"{self.better} is better"

    @property
    def reads_likelihood(self) -> bool:
        """Whether its accumulator reads -log p(x | z_q)."""
        return self.accumulator is not None and self.accumulator.reads_likelihood


_BOTH: tuple[When, ...] = ("evaluation", "validation")
_VALIDATION: tuple[When, ...] = ("validation",)
_ROWS = (
    Metric("images", "Images", "images", "neither", "number of images measured", ImageCount),
    Metric("nmse", "NMSE", "", "lower",
           "squared error divided by the variance of the training pixels: 0 is exact, 1 is a constant image",
           NMSE, _BOTH, in_log=True),
    Metric("psnr", "PSNR", "dB", "higher",
           "peak signal-to-noise ratio, peak 255, after rounding to uint8, mean over images",
           PSNR, _BOTH, in_log=True),
    Metric("ssim", "SSIM", "", "higher", "structural similarity, mean over images: 1 is a copy", SSIM),
    Metric("lpips", "LPIPS", "", "lower", "perceptual distance, mean over images: 0 is a copy", LPIPS),
    Metric("frechet", "Frechet distance of features", "", "lower",
           "between Gaussians of features of originals and of reconstructions; not FID, see the protocol",
           FeatureDistances),
    Metric("kid", "Kernel distance of features", "", "lower",
           "KID, unbiased: 0 is the same distribution, and chance may give less", FeatureDistances),
    Metric("precision", "Precision", "", "higher",
           "fraction of reconstructions within the manifold of the originals' features", FeatureDistances),
    Metric("recall", "Recall", "", "higher",
           "fraction of originals within the manifold of the reconstructions' features", FeatureDistances),
    Metric("perplexity", "Perplexity", "codes", "higher", "effective number of codes in use (2 to the entropy)",
           CodeUse, _BOTH, in_log=True),
    Metric("usage", "Usage", "", "higher", "fraction of the K codes that is chosen at least once",
           CodeUse, _BOTH, in_log=True),
    Metric("dead_codes", "Dead codes", "codes", "lower", "number of codes that are never chosen",
           CodeUse, _VALIDATION),
    Metric("counted", "Codes counted", "codes", "neither", "codes that perplexity and usage are taken from",
           CodeUse, _VALIDATION),
    Metric("quantization_error", "Quantization error", "", "lower",
           "squared distance from z_e to its code divided by the variance of z_e: 0 is exact, 1 is a single code",
           QuantizationError, _VALIDATION),
    Metric("bits_per_code_uniform", "Bits per code, uniform prior", "bits", "lower",
           "all codes equally likely: log2 K", CodeBits),
    Metric("bits_per_code_unigram", "Bits per code, unigram", "bits", "lower",
           "baseline: codes drawn independently, by their frequency in the training codes", CodeBits),
    Metric("bits_per_code_position_unigram", "Bits per code, unigram by position", "bits", "lower",
           "baseline: codes drawn independently, by their frequency at each position", CodeBits),
    Metric("bits_per_code_prior", "Bits per code, learned prior", "bits", "lower",
           "cross-entropy of the codes under the learned prior", CodeBits, in_log=True),
    Metric("bits_per_code_prior_train", "Bits per code, learned prior, training images", "bits", "lower",
           "cross-entropy of the codes of training images under the learned prior"),
    Metric("overfit_bits", "Overfitting", "bits", "lower",
           "bits per code on validation images minus bits per code on training images"),
    Metric("bits_per_dim_pixels", "Bits per dimension, pixels given codes", "bits", "lower",
           "-log2 p(x | z) of the likelihood, divided by C*H*W", ImageBits, _BOTH),
    Metric("kl_bits_per_dim_uniform", "KL to the uniform prior", "bits", "lower",
           "bits of an image's codes under the uniform prior, divided by C*H*W", ImageBits, _BOTH),
    Metric("bits_per_dim_uniform", "Bits per dimension, uniform prior", "bits", "lower",
           "upper bound on -log2 p(x) under the uniform prior, divided by C*H*W", ImageBits, _BOTH, in_log=True),
    Metric("bits_per_dim_prior", "Bits per dimension, learned prior", "bits", "lower",
           "upper bound on -log2 p(x) under the learned prior, divided by C*H*W", ImageBits),
    Metric("bits_per_dim_codes_prior", "Bits per dimension of the codes, learned prior", "bits", "lower",
           "bits of an image's codes under the learned prior, divided by C*H*W", RateByDepth),
    Metric("code_share_uniform", "Share of the codes, uniform prior", "", "neither",
           "fraction of the bits of an image that its codes take under the uniform prior", ImageBits, _BOTH),
    Metric("code_share_prior", "Share of the codes, learned prior", "", "neither",
           "fraction of the bits of an image that its codes take under the learned prior", ImageBits),
    Metric("code_gain", "Gain of the codes", "bits", "higher",
           "bits per dimension that the pixels cost more given the codes of another image", ImageBits, _BOTH),
    Metric("loss", "Loss", "", "lower", "the objective that training minimises", in_log=True),
    Metric("reconstruction", "Reconstruction loss", "", "lower",
           "first term of the objective, on the images of a training step"),
    Metric("codebook", "Codebook loss", "", "lower", "second term of the objective"),
    Metric("commitment", "Commitment loss", "", "lower", "third term of the objective, not multiplied by beta"),
    Metric("gradient_reconstruction", "Gradient of the reconstruction", "", "neither",
           "norm of the gradient of the reconstruction loss at the encoder's output"),
    Metric("gradient_commitment", "Gradient of the commitment", "", "neither",
           "norm of the gradient of beta times the commitment loss at the encoder's output"),
    Metric("gradient_codebook", "Gradient of the codebook", "", "neither",
           "norm of the gradient of the codebook loss at the quantizer's parameters"),
    Metric("gradient_norm", "Gradient norm", "", "neither",
           "norm of the gradient of all parameters, before clipping"),
    Metric("learning_rate", "Learning rate", "", "neither", "learning rate of the optimizer at this step"),
    Metric("revived", "Revived codes", "codes", "neither", "number of dead codes that were revived at this step"),
    Metric("temperature", "Gumbel temperature", "", "neither", "temperature of the Gumbel-softmax at this step"),
    Metric("dropped", "Dropped steps", "steps", "lower",
           "number of steps so far that were dropped, because a loss, gradient or statistic was not finite",
           in_log=True),
    Metric("images_per_second", "Speed", "images per second", "higher", "training images, without measurements",
           in_log=True),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}

# The metrics that summarise a run, by its stage; of these, the first ones that were measured are shown.
HEADLINES: dict[str, Sequence[str]] = {
    "tokenizer": ("nmse", "psnr", "ssim", "perplexity", "usage", "quantization_error"),
    "prior": ("bits_per_code_prior", "bits_per_dim_prior", "bits_per_code_prior_train", "bits_per_code_unigram"),
}


def add_metric(metric: Metric) -> None:
    """Add a row at the end of the table. A metric that is defined again, as by a notebook's cell, replaces itself.

    Raises:
        ValueError: when another metric has the name.
    """
    taken = METRICS.get(metric.name)
    if taken is not None and _origin(taken) != _origin(metric):
        raise ValueError(f"metric '{metric.name}': there is a metric of that name: choose another name")
    METRICS[metric.name] = metric


def _origin(metric: Metric) -> tuple[str, str]:
    accumulator = metric.accumulator
    return ("", metric.meaning) if accumulator is None else (accumulator.__module__, accumulator.__qualname__)


def without_level(name: str) -> str:
    """Return the name of a metric without the number of a level: ``usage`` for ``usage_2``."""
    return re.sub(r"_\d+$", "", name)


def described(name: str, protocol: Mapping[str, Any] | None = None) -> Metric:
    """Return the row of a metric; ``usage_2`` has the row of ``usage`` with a title for level 2.

    An unknown name gets a row without a meaning.

    Args:
        name: of the metric.
        protocol: how it was measured. In the features that FID is defined by, ``frechet`` is called FID.
    """
    called = (protocol or {}).get("features", {}).get("called", {})
    if name in called:
        meaning = f"{called[name]} of reconstructions against originals, in the features that define it"
        return replace(METRICS[name], title=called[name], meaning=meaning)
    if name in METRICS:
        return METRICS[name]
    row = METRICS.get(without_level(name))
    if row is None:
        return Metric(name, name, "", "neither", "")
    return replace(row, name=name, title=f"{row.title}, level {name.rpartition('_')[2]}")


def measured_in(when: When) -> list[Metric]:
    """Return the rows that are measured in evaluation or validation, in the order of the table."""
    return [metric for metric in METRICS.values() if metric.accumulator is not None and when in metric.when]
