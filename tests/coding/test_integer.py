"""The integer form: equal probabilities at any batch size, thread count and order, at nearly no cost in bits."""

from math import log

import numpy as np
import pytest
import torch
from torch import nn

from vqvae.coding import RangeReader, RangeWriter, code_pixels
from vqvae.coding.integer import LAYERS, LIKELIHOODS, PRIORS, IntegerPixels, integer_network
from vqvae.coding.integer.tables import MASS, ONE
from vqvae.errors import UserError
from vqvae.likelihoods import (
    CategoricalLikelihood,
    GaussianLikelihood,
    LikelihoodConfig,
    LogisticLikelihood,
    LogisticMixtureLikelihood,
)
from vqvae.model_io import build_tokenizer
from vqvae.models import VQVAE
from vqvae.networks import PaperNetwork, ResNet
from vqvae.priors import CodeTransformer, PixelCNN, PriorModelConfig
from vqvae.quantizers import EMAQuantizer, ResidualQuantizer, VectorQuantizer


def prior_of(kind, spec, classes=0):
    torch.manual_seed(0)
    n, num_codes, grid = spec
    how = {"codes_per_position": n, "grid": grid, "num_classes": classes, "layers": 4, "head_width": 16}
    prior = (
        PixelCNN(num_codes, width=12, **how)
        if kind == "pixelcnn"
        else CodeTransformer(num_codes, width=16, heads=2, **how)
    )
    with torch.no_grad():
        for parameter in prior.parameters():  # far from uniform
            parameter.mul_(1.5)
    return prior.eval()


def frequencies_of(prior, codes, *, known):
    """Return the frequencies of all codes, [P, B, K], from one pass or from steps."""
    following = prior.frequencies(len(codes), tuple(codes.shape[1:3]), codes if known else None)
    flat, found = codes.flatten(1), []
    for place in range(flat.shape[1]):
        found.append(following(flat[:, place - 1] if place else None))
    return np.stack(found)


SPECS = [(1, 64, (8, 8)), (2, 17, (3, 5)), (1, 5, (1, 7)), (3, 9, (6, 1))]


KINDS = ["pixelcnn", "transformer"]


def test_every_kind_of_the_package_has_an_integer_form():
    priors = [each for each in PriorModelConfig.kinds().values() if each.__module__.startswith("vqvae.")]
    assert sorted(each.kind for each in priors) == KINDS
    for config in LikelihoodConfig.kinds().values():
        if config.__module__.startswith("vqvae."):
            assert config().build(channels=3) in LIKELIHOODS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("classes", [0, 3])
def test_frequencies_do_not_depend_on_the_pass_the_batch_size_or_the_threads(kind, spec, classes):
    prior = PRIORS.make(prior_of(kind, spec, classes))
    n, num_codes, grid = spec
    codes = torch.randint(0, num_codes, (64, *grid, n), generator=torch.Generator().manual_seed(1))
    whole = frequencies_of(prior, codes, known=True)
    assert (whole >= 1).all() and (whole.sum(2) == MASS).all() and (whole == np.floor(whole)).all()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 7, 64):
                rows = slice(0, size)
                for known in (True, False):
                    found = frequencies_of(prior, codes[rows], known=known)
                    assert np.array_equal(found, whole[:, rows]), (threads, size, known)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("most", [1, 1000, 10**6])
def test_frequencies_do_not_depend_on_the_memory(most, monkeypatch):
    prior = PRIORS.make(prior_of("transformer", SPECS[1]))
    codes = torch.randint(0, 17, (9, 3, 5, 2), generator=torch.Generator().manual_seed(1))
    whole = frequencies_of(prior, codes, known=True)
    monkeypatch.setattr("vqvae.coding.integer.transformer._MOST_SCORES", most)
    assert prior.at_once((3, 5)) == most // 450  # code by code, two grids at once, and all
    assert np.array_equal(frequencies_of(prior, codes, known=True), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("classes", [0, 3])
def test_the_prior_costs_less_than_half_a_percent(kind, spec, classes):
    prior = prior_of(kind, spec, classes)
    codes = prior.sample(16, seed=1)
    found = frequencies_of(PRIORS.make(prior), codes, known=True)
    chosen = np.take_along_axis(found, codes.flatten(1).T[:, :, None].numpy(), 2)
    with torch.no_grad():
        bits = float(prior.code_nats(codes).sum()) / log(2)
    assert -np.log2(chosen / MASS).sum() == pytest.approx(bits, rel=0.005)


def network_of(kind, likelihood):
    how = {"latent_channels": 4, "out_channels": likelihood.out_channels, "width": 16, "outer_width": 12}
    if kind == "paper":
        return PaperNetwork(3, residual_width=8, residual_blocks=2, **how)
    network = ResNet(3, decoder_blocks=2, attention=kind == "attention", **how)
    for parameter in network.decoder.parameters():  # the last convolutions of the blocks are not zero
        nn.init.normal_(parameter, std=0.15)
    return network


def tokenizer_of(likelihood, network, quantizer):
    torch.manual_seed(0)
    model = VQVAE(quantizer, likelihood=likelihood, network=network_of(network, likelihood)).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(1.5)
    return model


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of the switch of mkldnn
@pytest.mark.parametrize("network", ["paper", "resnet", "attention"])
@pytest.mark.parametrize("quantizer", ["ema", "vq", "residual"])
def test_the_decoders_parameters_do_not_depend_on_the_batch_size_or_the_threads(network, quantizer):
    made = {
        "ema": lambda: EMAQuantizer(32, 4),
        "vq": lambda: VectorQuantizer(32, 4),
        "residual": lambda: ResidualQuantizer([VectorQuantizer(32, 4), VectorQuantizer(32, 4)]),
    }[quantizer]()
    model = tokenizer_of(LogisticMixtureLikelihood(3, components=2), network, made)
    pixels = IntegerPixels(model)
    codes = torch.randint(0, 32, (64, 5, 4, model.codes_per_position), generator=torch.Generator().manual_seed(1))
    whole = pixels.parameters_of(codes)
    close = model.decode_parameters(codes).double()
    assert torch.equal(whole, whole.round()) and (whole / ONE - close).abs().max() < 0.01 * close.abs().max()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 7, 64):
                assert torch.equal(pixels.parameters_of(codes[:size]), whole[:size])
        with torch.backends.mkldnn.flags(enabled=False):
            assert torch.equal(pixels.parameters_of(codes[:7]), whole[:7])
    finally:
        torch.set_num_threads(before)


def test_a_decoders_attention_does_not_depend_on_the_memory(monkeypatch):
    likelihood = LogisticMixtureLikelihood(3, components=2)
    pixels = IntegerPixels(tokenizer_of(likelihood, "attention", EMAQuantizer(32, 4)))
    codes = torch.randint(0, 32, (3, 5, 4, 1), generator=torch.Generator().manual_seed(1))
    whole = pixels.parameters_of(codes)
    for most in (1, 7 * 3 * 20):  # one query at a time, and seven
        monkeypatch.setattr("vqvae.coding.integer.resnet._MOST_SCORES", most)
        assert torch.equal(pixels.parameters_of(codes), whole)


CASES = [
    LogisticMixtureLikelihood(3), LogisticMixtureLikelihood(1, components=2), LogisticLikelihood(3),
    LogisticLikelihood(3, scale="channel"), LogisticLikelihood(1, scale="global"), GaussianLikelihood(3),
    GaussianLikelihood(1), CategoricalLikelihood(3),
]  # fmt: skip


@pytest.mark.parametrize("likelihood", CASES, ids=lambda each: f"{type(each).__name__}-{each.channels}")
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_pixels_cost_less_than_half_a_percent_and_are_restored(likelihood, scale):
    generator = torch.Generator().manual_seed(0)
    parameters = scale * torch.randn(2, likelihood.out_channels, 24, 24, generator=generator, dtype=torch.float64)
    if isinstance(likelihood, GaussianLikelihood):
        likelihood.noise_variance.fill_((0.03 * scale) ** 2)
    with torch.no_grad():
        u = torch.rand(2, likelihood.channels, 24, 24, generator=generator, dtype=torch.float64)
        pixels = likelihood.sample(parameters, u)
        bits = float(likelihood.nats(parameters, pixels).sum()) / log(2)
    integers, exact = (parameters * ONE).round(), LIKELIHOODS.make(likelihood)
    writer = RangeWriter()
    code_pixels(writer, exact, integers, pixels)
    content = writer.finish()
    assert 8 * len(content) <= 1.005 * bits + 40
    assert torch.equal(code_pixels(RangeReader(content, where="x"), exact, integers), pixels)


@pytest.mark.parametrize("likelihood", CASES, ids=lambda each: f"{type(each).__name__}-{each.channels}")
def test_the_distribution_function_is_exact_and_never_falls(likelihood):
    generator = torch.Generator().manual_seed(0)
    integers = (2 * ONE * torch.randn(50, likelihood.out_channels, 2, 3, generator=generator)).double().round()
    earlier = torch.randint(0, 256, (50, likelihood.channels - 1, 2, 3), generator=generator, dtype=torch.uint8)
    below = LIKELIHOODS.make(likelihood).cumulative(integers, earlier)
    found = torch.stack([below(torch.full((50, 2, 3), v)) for v in range(257)])
    assert (found[0] == 0).all() and (found[256] == 1).all() and (found.diff(dim=0) >= 0).all()
    assert torch.equal(found * MASS, (found * MASS).round())
    alone = LIKELIHOODS.make(likelihood).cumulative(integers[3:4], earlier[3:4])
    assert torch.equal(alone(torch.full((1, 2, 3), 100)), found[100, 3:4])


class Louder(LogisticLikelihood):
    """A subclass may compute something else than its base class."""


class Halved(nn.Sequential):
    """A decoder that does more than its layers say."""

    def forward(self, input):
        return super().forward(input) * 0.3


def halved():
    tokenizer = build_tokenizer(VQVAE.Config(network=PaperNetwork.Config(width=8, outer_width=8)), channels=3)
    tokenizer.decoder = Halved(*tokenizer.decoder)
    return tokenizer.eval()


class Deeper(PixelCNN):
    """The same, of a prior."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: integer_network(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))), "BatchNorm2d"),
        (lambda: integer_network(nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU())), "GELU"),
        (lambda: LIKELIHOODS.make(Louder(3)), "Louder"),
        (lambda: PRIORS.make(Deeper(16, width=8, layers=1)), "Deeper"),
        (lambda: IntegerPixels(halved()), "the decoder"),
        (lambda: LAYERS.make(nn.RMSNorm((2, 3), eps=1e-6)), "a norm over several dimensions"),
    ],
)
def test_a_model_without_an_integer_form_is_one_line(make, says):
    with pytest.raises(UserError, match=rf"{says}.* has no integer form"):
        make()
