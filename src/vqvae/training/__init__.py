"""Training: the one loop, its two stages, and the runs that it writes."""

from vqvae.interruption import Interrupted as Interrupted
from vqvae.training.jobs import prior_config as prior_config
from vqvae.training.jobs import resume as resume
from vqvae.training.jobs import train as train
from vqvae.training.run import Run as Run
