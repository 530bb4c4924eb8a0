"""Likelihoods: distributions of pixels given the decoder's output, one file each."""

from vqvae.likelihoods.autoregressive import AutoregressiveLikelihood as AutoregressiveLikelihood
from vqvae.likelihoods.base import Likelihood as Likelihood
from vqvae.likelihoods.base import LikelihoodConfig as LikelihoodConfig
from vqvae.likelihoods.categorical import CategoricalLikelihood as CategoricalLikelihood
from vqvae.likelihoods.gaussian import GaussianLikelihood as GaussianLikelihood
from vqvae.likelihoods.logistic import LogisticLikelihood as LogisticLikelihood
from vqvae.likelihoods.mixture import LogisticMixtureLikelihood as LogisticMixtureLikelihood
from vqvae.likelihoods.multiscale import MultiscaleLikelihood as MultiscaleLikelihood
