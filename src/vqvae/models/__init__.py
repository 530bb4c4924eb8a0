"""The tokenizer and its objective."""

from vqvae.models.objective import Objective as Objective
from vqvae.models.objective import objective as objective
from vqvae.models.objective import uniform_prior_bits as uniform_prior_bits
from vqvae.models.vqvae import VQVAE as VQVAE
from vqvae.priors import CodeTransformer as CodeTransformer
from vqvae.priors import PixelCNN as PixelCNN
