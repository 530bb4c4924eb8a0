"""Distributions of pixels given the decoder's output, one file each."""

from vqvae.likelihoods.gaussian import pixel_nats as pixel_nats
