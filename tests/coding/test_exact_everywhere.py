"""Equal tables and files on every processor, at any batch size and thread count, and in both directions."""

from dataclasses import replace

import pytest
import torch
from tests.torture.exact import compare, processors
from torch import nn

from vqvae.config import load_config
from vqvae.likelihoods import (
    AutoregressiveLikelihood,
    GaussianLikelihood,
    LogisticMixtureLikelihood,
    MultiscaleLikelihood,
)
from vqvae.model_card import prior_card, tokenizer_card
from vqvae.model_io import build_prior, build_tokenizer, read_model, save_model
from vqvae.networks import PaperNetwork, ResNet
from vqvae.priors import CodeTransformer, PixelCNN
from vqvae.tensors import CodeSpec

MODELS = {
    "convolutions": (
        PaperNetwork.Config(width=8, outer_width=8, residual_width=8, residual_blocks=1),
        LogisticMixtureLikelihood.Config(components=2),
        PixelCNN.Config(width=8, layers=3, head_width=8),
    ),
    "norms": (
        ResNet.Config(width=8, outer_width=8, encoder_blocks=1, decoder_blocks=1, attention=True),
        GaussianLikelihood.Config(),
        CodeTransformer.Config(width=16, layers=2, heads=2, head_width=8),
    ),
    "groups of pixels": (
        ResNet.Config(width=8, outer_width=8, encoder_blocks=1, decoder_blocks=1),
        MultiscaleLikelihood.Config(components=2, width=8, blocks=1),
        PixelCNN.Config(width=8, layers=3, head_width=8),
    ),
    "pixel by pixel": (
        ResNet.Config(width=8, outer_width=8, encoder_blocks=1, decoder_blocks=1),
        AutoregressiveLikelihood.Config(components=2, width=8, blocks=2),
        CodeTransformer.Config(width=16, layers=2, heads=2, head_width=8),
    ),
}


def made(folder, network, likelihood, prior_model):
    """Write an untrained prior with its tokenizer, all weights drawn, and return the folder of the prior."""
    torch.manual_seed(0)
    quantizer = {"model.quantizer.num_codes": "16", "model.quantizer.dim": "4"}
    config = load_config("shapes", "tokenizer", quantizer).model
    config = replace(config, network=network, likelihood=likelihood)
    tokenizer = build_tokenizer(config, channels=3)
    prior = build_prior(prior_model, CodeSpec((2, 2), 1, 16), num_classes=3)
    for parameter in (*tokenizer.decoder.parameters(), *tokenizer.likelihood.parameters(), *prior.parameters()):
        nn.init.normal_(parameter, std=0.4)
    (folder / "tokenizer").mkdir()
    card = tokenizer_card(config, classes=(), image_shape=(3, 8, 8), step=7)
    save_model(folder / "tokenizer" / "model.safetensors", tokenizer.state_dict(), card)
    identity = read_model(folder / "tokenizer" / "model.safetensors").card.identity
    classes = ("a", "b", "c")
    card = prior_card(prior_model, prior, classes=classes, image_shape=(3, 8, 8), tokenizer=identity, step=7)
    save_model(folder / "model.safetensors", prior.state_dict(), card)
    return folder


@pytest.mark.parametrize("kind", MODELS)
def test_all_processors_batch_sizes_threads_and_directions_give_the_same_file(kind, tmp_path):
    folder = made(tmp_path, *MODELS[kind])
    pixels = torch.randint(0, 256, (9, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    names, slow = processors(), kind == "pixel by pixel"
    pixels = pixels[:, :, :4] if slow else pixels
    _, files = compare(str(folder), pixels, [names[0], names[-1]], whole=not slow)
    assert sorted(files) == [1, 7, 64]
