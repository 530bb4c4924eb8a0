"""Training: the one loop, its two stages, and the runs that it writes."""

from vqvae.interruption import Interrupted as Interrupted
from vqvae.training.prior_start import prior_config as prior_config
from vqvae.training.run import Run as Run
from vqvae.training.start import resume as resume
from vqvae.training.start import train as train
