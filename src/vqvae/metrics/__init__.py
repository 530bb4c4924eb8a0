"""Metrics of images and codes: one table of them, and how each is accumulated."""

from vqvae.metrics.accumulator import Accumulator as Accumulator
from vqvae.metrics.accumulator import ImageMean as ImageMean
from vqvae.metrics.batch import Batch as Batch
from vqvae.metrics.batch import Models as Models
from vqvae.metrics.measure import Measurement as Measurement
from vqvae.metrics.measure import Results as Results
from vqvae.metrics.measure import measure as measure
from vqvae.metrics.table import HEADLINES as HEADLINES
from vqvae.metrics.table import METRICS as METRICS
from vqvae.metrics.table import Metric as Metric
from vqvae.metrics.table import add_metric as add_metric
from vqvae.metrics.table import described as described
from vqvae.metrics.table import measured_in as measured_in
