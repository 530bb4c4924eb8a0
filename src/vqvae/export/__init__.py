"""Models as files of other runtimes, with a certificate of their agreement."""

from vqvae.export.certificate import certify_prior as certify_prior
from vqvae.export.certificate import certify_tokenizer as certify_tokenizer
from vqvae.export.formats import FORMATS as FORMATS
from vqvae.export.formats import Format as Format
from vqvae.export.formats import Onnx as Onnx
from vqvae.export.formats import RunGraph as RunGraph
from vqvae.export.formats import Torch as Torch
from vqvae.export.formats import program_of as program_of
from vqvae.export.graphs import Graph as Graph
from vqvae.export.graphs import prior_graphs as prior_graphs
from vqvae.export.graphs import step_graphs as step_graphs
from vqvae.export.graphs import tokenizer_graphs as tokenizer_graphs
from vqvae.export.stepped import SteppedPrior as SteppedPrior
