"""What was written is read, in as many bytes as the models' cross-entropy says."""

from math import log

import pytest
import torch

from vqvae.coding import RangeReader, RangeWriter, code_codes, code_pixels
from vqvae.errors import FormatError
from vqvae.likelihoods import LikelihoodConfig
from vqvae.model_io import build_prior
from vqvae.priors import PriorModelConfig
from vqvae.tensors import CodeSpec

LIKELIHOODS = sorted(
    kind for kind, each in LikelihoodConfig.kinds().items() if each.__module__.startswith("vqvae.")
)
PRIORS = sorted(kind for kind, each in PriorModelConfig.kinds().items() if each.__module__.startswith("vqvae."))


def likelihood_of(kind, channels=3):
    torch.manual_seed(0)
    return LikelihoodConfig.kinds()[kind](kind=kind).build(channels=channels)


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_take_the_bytes_of_their_nats(kind, channels):
    likelihood = likelihood_of(kind, channels)
    generator = torch.Generator().manual_seed(1)
    parameters = 0.3 * torch.randn(2, likelihood.out_channels, 16, 24, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        u = torch.rand(2, channels, 16, 24, generator=generator, dtype=torch.float64)
        pixels = likelihood.sample(parameters, u)
        writer = RangeWriter()
        code_pixels(writer, likelihood, parameters, pixels)
        content = writer.finish()
        reader = RangeReader(content, where="x")
        assert torch.equal(code_pixels(reader, likelihood, parameters), pixels)
        reader.finish()
        bits = float(likelihood.nats(parameters, pixels).sum()) / log(2)
    assert bits - 8 <= 8 * len(content) <= 1.001 * bits + 40


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_pixels_that_the_likelihood_takes_for_impossible_are_coded_all_the_same(kind, scale):
    likelihood = likelihood_of(kind)
    if kind == "gaussian":
        likelihood.noise_variance.fill_(1e-6)
    generator = torch.Generator().manual_seed(2)
    parameters = scale * torch.randn(1, likelihood.out_channels, 9, 7, generator=generator, dtype=torch.float64)
    pixels = torch.randint(0, 256, (1, 3, 9, 7), generator=generator, dtype=torch.uint8)
    pixels[..., :3], pixels[..., 3:5] = 0, 255
    writer = RangeWriter()
    code_pixels(writer, likelihood, parameters, pixels)
    reader = RangeReader(writer.finish(), where="x")
    assert torch.equal(code_pixels(reader, likelihood, parameters), pixels)
    reader.finish()


def prior_of(kind, spec, classes=0):
    torch.manual_seed(0)
    settings = {"pixelcnn": {"width": 8, "layers": 2, "head_width": 8}, "transformer": {"width": 16, "layers": 1,
                "heads": 2, "head_width": 8}}.get(kind, {})  # fmt: skip
    prior = build_prior(PriorModelConfig.kinds()[kind](kind=kind, **settings), spec, num_classes=classes).eval()
    with torch.no_grad():
        for parameter in prior.parameters():  # far from uniform
            parameter.mul_(2.0)
    return prior


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("spec", [CodeSpec((4, 6), 1, 64), CodeSpec((3, 4), 2, 17)], ids=["n=1", "n=2"])
def test_codes_take_the_bytes_of_their_nats_under_the_prior(kind, classes, spec):
    prior = prior_of(kind, spec, classes)
    codes = prior.sample(9, seed=1)
    writer = RangeWriter()
    code_codes(writer, spec, count=9, prior=prior, codes=codes)
    content = writer.finish()
    reader = RangeReader(content, where="x")
    assert torch.equal(code_codes(reader, spec, count=9, prior=prior), codes)
    reader.finish()
    with torch.no_grad():
        bits = float(prior.code_nats(codes).sum()) / log(2)
    assert bits - 8 <= 8 * len(content) <= 1.001 * bits + 40


def test_without_a_prior_a_code_takes_log2_k_bits():
    spec = CodeSpec((8, 8), 1, 512)
    codes = torch.randint(0, 512, (5, 8, 8, 1), generator=torch.Generator().manual_seed(0))
    writer = RangeWriter()
    code_codes(writer, spec, count=5, prior=None, codes=codes)
    content = writer.finish()
    assert len(content) <= 5 * 64 * 9 / 8 + 2
    assert torch.equal(code_codes(RangeReader(content, where="x"), spec, count=5, prior=None), codes)


def test_one_code_takes_no_byte():
    spec = CodeSpec((2, 2), 1, 1)
    writer = RangeWriter()
    code_codes(writer, spec, count=3, prior=None, codes=torch.zeros(3, 2, 2, 1, dtype=torch.int64))
    assert writer.finish() == b""
    assert not code_codes(RangeReader(b"", where="x"), spec, count=3, prior=None).any()


def test_bytes_that_are_left_or_that_no_writer_writes_are_an_error():
    spec = CodeSpec((2, 2), 1, 7)
    for content in (bytes(range(1, 200)), b"\xff" * 200):
        reader = RangeReader(content, where="x: block 3")
        with pytest.raises(FormatError, match=r"x: block 3: (damaged|does not decode)"):
            code_codes(reader, spec, count=1, prior=None)
            reader.finish()
