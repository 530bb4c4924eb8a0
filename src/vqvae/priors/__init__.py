"""Priors: distributions over codes, one file an architecture."""

from vqvae.priors.base import Prior as Prior
from vqvae.priors.base import PriorModelConfig as PriorModelConfig
from vqvae.priors.codes import CodeEmbedding as CodeEmbedding
from vqvae.priors.codes import CodeHead as CodeHead
from vqvae.priors.pixelcnn import PixelCNN as PixelCNN
from vqvae.priors.steps import PriorSteps as PriorSteps
from vqvae.priors.steps import StepFunction as StepFunction
from vqvae.priors.transformer import CodeTransformer as CodeTransformer
