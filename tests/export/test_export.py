"""Exported files agree with the models that they were made of."""

import json

import pytest
import torch
from tests.priors.kinds import small

from vqvae.commands.export import certificate_images, export_run
from vqvae.commands.resolve import open_prior_run, open_tokenizer_run
from vqvae.errors import UserError
from vqvae.export import (
    Onnx,
    SteppedPrior,
    certify_tokenizer,
    prior_graphs,
    step_graphs,
    tokenizer_graphs,
)
from vqvae.models import VQVAE
from vqvae.networks import ResNet
from vqvae.quantizers import QuantizerConfig
from vqvae.sampling import inpaint, sample
from vqvae.tensors import CodeSpec

pytestmark = pytest.mark.filterwarnings("default")  # of the exporters' own
SMALL = {"width": 8, "outer_width": 4, "residual_width": 4, "residual_blocks": 0}


def tokenizer(kind, network=None):
    torch.manual_seed(0)
    own = SMALL if network is None else {"network": network}
    model = VQVAE(QuantizerConfig.kinds()[kind]().build(), **own)
    model(torch.rand(64, 3, 8, 8) * 2 - 1)  # a codebook starts from a batch
    return model.eval()


def opened(graphs, form):
    files = {graph.name: (form.write(graph), graph) for graph in graphs}
    return {name: form.open(written.content, graph) for name, (written, graph) in files.items()}


def not_exported(graphs):
    """Return functions that run the modules themselves."""

    def function(graph):
        def run(arguments):
            with torch.no_grad():
                results = graph.module(*(arguments[name] for name in graph.inputs))
            return dict(zip(graph.outputs, results if isinstance(results, tuple) else (results,), strict=True))

        return run

    return {graph.name: function(graph) for graph in graphs}


def with_attention():
    network = ResNet(3, latent_channels=64, width=64, outer_width=8, attention=True)
    for module in (network.encoder, network.decoder):
        for parameter in module.parameters():  # an attention that starts at zero would change nothing
            torch.nn.init.normal_(parameter, std=0.05) if not parameter.any() else None
    return network


@pytest.mark.parametrize(
    ("kind", "network"), [*((kind, None) for kind in sorted(QuantizerConfig.kinds())), ("ema", with_attention)]
)
def test_the_codes_of_an_exported_encoder_are_exact_but_for_near_ties(kind, network):
    model = tokenizer(kind, network and network())
    run = opened(tokenizer_graphs(model, (16, 16)), Onnx())
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    facts, codes = certify_tokenizer(run, model, pixels)
    assert facts["images"] == 40 and facts["codes"] == codes.numel()
    assert all(one["near_tie"] for one in facts["differing_codes"])
    assert len(facts["differing_codes"]) <= 0.01 * facts["codes"]
    assert facts["largest_decoder_difference"] < 1e-4
    wide = torch.rand(1, 3, 8, 24) * 2 - 1  # another batch and another size
    codes = run["encoder"]({"images": wide})["codes"]
    assert codes.shape == model.encode(wide).shape
    torch.testing.assert_close(run["decoder"]({"codes": codes})["images"], model.decode(codes), rtol=0, atol=1e-4)


def test_an_exporter_that_changes_codes_is_found_out():
    model = tokenizer("ema")
    run = not_exported(tokenizer_graphs(model, (16, 16)))
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)

    def wrong(arguments):
        return {"codes": (run["encoder"](arguments)["codes"] + 1) % model.num_codes}

    with pytest.raises(UserError, match="no near-ties"):
        certify_tokenizer({**run, "encoder": wrong}, model, pixels)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("kind", ["pixelcnn", "transformer"])
def test_the_step_that_is_exported_draws_and_inpaints_as_the_prior_does(kind, num_classes, n):
    torch.manual_seed(0)
    prior = small(kind, CodeSpec((4, 3), n, 7), num_classes=num_classes, layers=3).eval()
    exported, labels = (
        SteppedPrior(not_exported(step_graphs(prior)), prior),
        torch.arange(5) % num_classes if num_classes else None,
    )
    drawn = prior.sample(5, seed=3, labels=labels)
    assert torch.equal(sample(exported, 5, seed=3, labels=labels), drawn)
    keep = torch.rand(4, 3) < 0.5
    how = {"seed": 1, "candidates": 3, "labels": labels}
    assert torch.equal(inpaint(exported, drawn, keep, **how), inpaint(prior, drawn, keep, **how))


@pytest.mark.parametrize("kind", ["pixelcnn", "transformer"])
def test_onnx_runtime_runs_a_prior_and_its_step(kind):
    torch.manual_seed(0)
    prior = small(kind, CodeSpec((4, 3), 1, 7), num_classes=3, layers=2).eval()
    exported, labels = SteppedPrior(opened(prior_graphs(prior), Onnx()), prior), torch.arange(5) % 3
    drawn = prior.sample(5, seed=3, labels=labels)
    assert torch.equal(sample(exported, 5, seed=3, labels=labels), drawn)
    torch.testing.assert_close(exported(drawn, labels), prior(drawn, labels).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_run_is_exported_with_a_certificate(form, prior_run, tmp_path):
    run = open_prior_run(prior_run.path, device="cpu")
    given = export_run(run, tmp_path / "out", format=form, num=20)
    assert given == json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"certificate.json", *given["files"]}
    _, pixels = certificate_images(run, None, "validation", 20)
    assert (
        given["tokenizer"]["images"] == len(pixels)
        and given["models"]["tokenizer"]["sha256"] == run.tokenizer.hash
    )
    assert given["prior"]["equal_samples"] == given["prior"]["samples"]
    with pytest.raises(UserError, match="not overwritten"):
        export_run(run, tmp_path / "out", format=form, num=20)


def test_a_missing_package_is_one_line(monkeypatch, tokenizer_run, tmp_path):
    monkeypatch.setattr("vqvae.export.formats.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs .*pip install 'vqvae-toolkit\[onnx\]'"):
        export_run(open_tokenizer_run(tokenizer_run.path, device="cpu"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
