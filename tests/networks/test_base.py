"""Every exported network, and one of the outside: shapes follow its factor, and a tokenizer trains with it."""

import pytest
import torch
from tests.networks.own_kind import PatchNetwork

from vqvae.files import read_records
from vqvae.likelihoods import GaussianLikelihood
from vqvae.model_io import load_tokenizer, read_model
from vqvae.models import VQVAE
from vqvae.networks import NetworkConfig, PaperNetwork
from vqvae.quantizers import VectorQuantizer

KINDS = sorted(kind for kind, config in NetworkConfig.kinds().items() if config.__module__.startswith("vqvae."))
KINDS += ["test-patches"]


def build(kind, *, channels=3, latent_channels=5, out_channels=7, factor=4):
    torch.manual_seed(0)
    config = NetworkConfig.kinds()[kind](kind=kind, factor=factor)
    return config.build(channels=channels, latent_channels=latent_channels, out_channels=out_channels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_shapes_follow_what_was_asked_for(kind, channels, factor):
    network = build(kind, channels=channels, factor=factor)
    assert network.factor == factor
    with torch.no_grad():
        z_e = network.encoder(torch.zeros(2, channels, 16, 24))
        assert z_e.shape == (2, 5, 16 // factor, 24 // factor)
        assert network.decoder(z_e).shape == (2, 7, 16, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_inputs_in_float32_meet_weights_in_any_precision(kind, dtype):
    network = build(kind)
    z_e = network.encoder.to(dtype)(torch.zeros(2, 3, 16, 8))
    assert z_e.dtype == dtype and network.decoder.to(dtype)(z_e.float()).dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_takes_over_encoder_decoder_and_factor(kind):
    network = build(kind, latent_channels=3, out_channels=3)
    model = VQVAE(VectorQuantizer(16, 3), network=network).eval()
    assert (model.encoder, model.decoder, model.factor) == (network.encoder, network.decoder, network.factor)
    names = {name.partition(".")[0] for name in model.state_dict()}
    assert names == {"encoder", "quantizer", "decoder", "likelihood", "pixel_variance"}
    assert {id(p) for part in model.sharding_units() for p in part.parameters()} == {
        id(p) for part in (network.encoder, network.decoder) for p in part.parameters()
    }


def test_an_encoder_names_its_own_units_of_sharding():
    model = VQVAE(VectorQuantizer(16, 3), network=build("test-patches", latent_channels=3, out_channels=3))
    assert model.sharding_units() == [*model.encoder, model.encoder, model.decoder]
    paper = VQVAE(VectorQuantizer(16, 3), width=8)
    assert paper.sharding_units() == [paper.encoder, paper.decoder]


def test_the_default_is_the_papers_and_takes_its_settings():
    torch.manual_seed(0)
    short = VQVAE(VectorQuantizer(16, 3), channels=1, width=8, factor=8)
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 3)
    network = PaperNetwork(1, latent_channels=3, width=8, factor=8)
    long = VQVAE(quantizer, channels=1, network=network, likelihood=GaussianLikelihood(1))
    assert long.state_dict().keys() == short.state_dict().keys()
    assert all(torch.equal(long.state_dict()[name], value) for name, value in short.state_dict().items())


def test_settings_of_the_default_network_beside_a_network_are_refused():
    network = build("paper", latent_channels=3, out_channels=3)
    with pytest.raises(ValueError, match="width: settings of the default network, but a network was given"):
        VQVAE(VectorQuantizer(16, 3), network=network, width=8)
    with pytest.raises(TypeError, match="widht"):
        VQVAE(VectorQuantizer(16, 3), widht=8)
    with pytest.raises(ValueError, match="a likelihood of 1 channels, but images of 3"):
        VQVAE(VectorQuantizer(16, 3), likelihood=GaussianLikelihood(1))


def test_a_network_from_outside_trains_on_shapes_and_is_loaded(train_tokenizer, tmp_path):
    options = {"model.network.kind": "test-patches", "model.hidden": "24", "model.factor": "8"}
    run = train_tokenizer(tmp_path / "run", **options)
    records = [record["loss"] for record in read_records(run.metrics) if record["split"] == "train"]
    assert sum(records[-4:]) < sum(records[:4])
    network = read_model(run.path).card.build["model"]["network"]
    assert {**network, "plugin": ""} == {"kind": "test-patches", "factor": 8, "hidden": 24, "plugin": ""}
    tokenizer = load_tokenizer(run.path)
    assert tokenizer.encoder[0].weight.shape == (24, 3, 8, 8)
    assert tokenizer.encode(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 4, 1)
    assert PatchNetwork.Config.kind == "test-patches"
