"""The exported integer form: whole numbers, and a certificate of what they cost."""

import json
from math import log

import pytest
import torch

from vqvae.cli import main
from vqvae.coding import RangeWriter, code_pixels, pixel_bits
from vqvae.coding.integer import LIKELIHOODS, PRIORS
from vqvae.commands.export_integer import KIND, VERSION, export_integer
from vqvae.commands.resolve import open_prior_run, open_tokenizer_run
from vqvae.errors import UserError
from vqvae.likelihoods import LogisticMixtureLikelihood
from vqvae.tensorfile import load_tensors


def test_a_prior_is_exported_with_what_its_whole_numbers_cost(prior_run, tmp_path, capsys):
    words = ["export", str(prior_run.path), "--format", "integer", "--num", "20"]
    main([*words, "--out", str(tmp_path / "a")])
    said = capsys.readouterr().out
    assert "the integer form costs" in said and "for the codes of 20 images and" in said
    certificate = json.loads((tmp_path / "a" / "certificate.json").read_text())
    run = open_prior_run(str(prior_run.path), device="cpu")
    for what, count in (("codes", 20 * 64), ("pixels", 20 * 3072)):
        facts = certificate[what]
        assert facts["images"] == 20 and facts["codes" if what == "codes" else "values"] == count
        assert facts["cost_percent"] == pytest.approx(100 * (facts["bits_integer"] / facts["bits"] - 1))
        assert abs(facts["cost_percent"]) < 0.5
    header, tensors = load_tensors(tmp_path / "a" / "integer.safetensors", KIND, VERSION)
    assert header["models"]["prior"]["sha256"] == run.prior.hash
    whole = {name: each for name, each in tensors.items() if not name.startswith("quantizer.")}
    assert {each.dtype for each in whole.values()} <= {torch.int32, torch.int64}
    stored = tensors["prior.embedding"].double() / 4096
    weight = run.prior.model.embedding.weight.view(stored.shape).double()
    assert (stored - weight).abs().max() <= 0.5 / 4096
    main([*words, "--out", str(tmp_path / "b")])
    for name in ("certificate.json", "integer.safetensors"):  # equal models give equal bytes
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_tokenizer_is_certified_by_its_pixels_and_a_likelihood_without_a_form_is_told(
    tokenizer_run, prior_run, tmp_path, monkeypatch, capsys
):
    run = open_tokenizer_run(str(tokenizer_run.path), device="cpu")
    certificate = export_integer(run, tmp_path / "a", num=5)
    assert "codes" not in certificate and certificate["pixels"]["images"] == 5
    monkeypatch.setattr(LIKELIHOODS, "_makers", {})
    with pytest.raises(UserError, match=r"the likelihood GaussianLikelihood has no integer form"):
        export_integer(run, tmp_path / "b", num=5)
    assert not (tmp_path / "b").exists()
    with_prior = open_prior_run(str(prior_run.path), device="cpu")
    certificate = export_integer(with_prior, tmp_path / "b", num=5)
    assert "pixels" not in certificate and "codes" in certificate
    assert "the certificate is about codes alone" in capsys.readouterr().err
    monkeypatch.setattr(PRIORS, "_makers", {})
    with pytest.raises(UserError, match=r"the prior PixelCNN has no integer form"):
        export_integer(with_prior, tmp_path / "c", num=5)
    with pytest.raises(UserError, match="is not overwritten"):
        export_integer(with_prior, tmp_path / "b", num=5)


def test_the_bits_of_pixels_are_those_that_the_coder_takes():
    likelihood = LogisticMixtureLikelihood(3)
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(1, likelihood.out_channels, 32, 32, generator=generator, dtype=torch.float64)
    pixels = likelihood.sample(parameters, torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64))
    found = pixel_bits(likelihood, parameters, pixels)
    assert found == pytest.approx(float(likelihood.nats(parameters, pixels).sum()) / log(2), rel=1e-3)
    writer = RangeWriter()
    code_pixels(writer, likelihood, parameters, pixels)
    assert found <= 8 * len(writer.finish()) <= found + 72
