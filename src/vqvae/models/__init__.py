"""Networks: the tokenizer, the priors, and what they are trained and judged by."""

from vqvae.models.likelihood import pixel_nats as pixel_nats
from vqvae.models.objective import Loss as Loss
from vqvae.models.objective import objective as objective
from vqvae.models.objective import uniform_prior_bits as uniform_prior_bits
from vqvae.models.pixelcnn import PixelCNN as PixelCNN
from vqvae.models.transformer import CodeTransformer as CodeTransformer
from vqvae.models.typicality import code_bits as code_bits
from vqvae.models.typicality import typicality as typicality
from vqvae.models.vqvae import VQVAE as VQVAE

CodePrior = PixelCNN | CodeTransformer
