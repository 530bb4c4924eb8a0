"""Sampling from any prior that meets the protocol."""

from vqvae.sampling.classes import labels_in_turn as labels_in_turn
from vqvae.sampling.inpaint import inpaint as inpaint
from vqvae.sampling.inpaint import outpaint as outpaint
from vqvae.sampling.inpaint import vary as vary
from vqvae.sampling.protocol import PriorProtocol as PriorProtocol
from vqvae.sampling.sampler import PLAIN as PLAIN
from vqvae.sampling.sampler import Controls as Controls
from vqvae.sampling.sampler import check_candidates as check_candidates
from vqvae.sampling.sampler import class_evidence as class_evidence
from vqvae.sampling.sampler import restrict as restrict
from vqvae.sampling.sampler import sample as sample
from vqvae.sampling.sampler import sample_naively as sample_naively
from vqvae.sampling.windows import Windowed as Windowed
