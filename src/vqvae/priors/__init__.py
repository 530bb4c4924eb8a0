"""Models of the codes: what a prior is made of, and one file an architecture."""

from vqvae.priors.base import PriorModelConfig as PriorModelConfig
from vqvae.priors.pixelcnn import PixelCNN as PixelCNN
from vqvae.priors.transformer import CodeTransformer as CodeTransformer

CodePrior = PixelCNN | CodeTransformer
