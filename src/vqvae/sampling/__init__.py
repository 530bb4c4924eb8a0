"""Sampling from any prior that meets the protocol."""

from vqvae.sampling.guidance import check_guidance as check_guidance
from vqvae.sampling.inpaint import inpaint as inpaint
from vqvae.sampling.inpaint import outpaint as outpaint
from vqvae.sampling.protocol import Prior as Prior
from vqvae.sampling.sampler import check_controls as check_controls
from vqvae.sampling.sampler import draw as draw
from vqvae.sampling.sampler import restrict as restrict
from vqvae.sampling.sampler import sample as sample
from vqvae.sampling.sampler import sample_naively as sample_naively
