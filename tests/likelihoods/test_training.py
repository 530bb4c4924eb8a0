"""A likelihood from outside trains, is saved, measured and loaded as the package's own are."""

import pytest
import torch
from tests.likelihoods.own_kinds import Categorical, Logistic

from vqvae.data import load
from vqvae.files import read_records
from vqvae.model_io import load_tokenizer, read_model
from vqvae.tensors import images_from_pixels


@pytest.mark.parametrize(("kind", "batch_size"), [(Categorical, 4), (Logistic, 32)])
def test_it_trains_on_shapes_and_is_measured_by_its_own_nats(kind, batch_size, train_tokenizer, tmp_path):
    options = {"model.likelihood.kind": kind.Config.kind, "training.batch_size": str(batch_size)}
    options["data.limit"] = str(6 * batch_size)
    run = train_tokenizer(tmp_path / "run", **options, **{"training.weight_ema": "0.5"})
    records = [record["reconstruction"] for record in read_records(run.metrics) if record["split"] == "train"]
    assert len(records) == 12 and sum(records[-4:]) < sum(records[:4])
    tokenizer = load_tokenizer(run.path)
    assert isinstance(tokenizer.likelihood, kind)
    assert read_model(run.path).card.build["model"]["likelihood"]["kind"] == kind.Config.kind
    pixels = load("shapes", "test", limit=6).pixels
    codes = tokenizer.encode(images_from_pixels(pixels))
    with torch.no_grad():
        nats = tokenizer.likelihood.nats(tokenizer.decode_parameters(codes), pixels)
    assert nats.isfinite().all() and nats.mean() / pixels[0].numel() < records[0]
    assert tokenizer.decode(codes).shape == pixels.shape


def test_the_likelihoods_own_weights_train(train_tokenizer, tmp_path):
    run = train_tokenizer(tmp_path / "run", **{"model__likelihood__kind": "test-logistic"})
    assert load_tokenizer(run.path).likelihood.log_scale != -2.0


def test_the_gaussians_variance_is_estimated_when_the_model_is_saved(tokenizer_run):
    tokenizer = load_tokenizer(tokenizer_run.path)
    pixels = load("shapes", "train", limit=91).pixels  # the last 5 % of 96 are held out for validation
    reconstruction = tokenizer.decode(tokenizer.encode(pixels))
    expected = (reconstruction - images_from_pixels(pixels)).square().mean()
    assert abs(tokenizer.likelihood.noise_variance / expected - 1) < 0.2


@pytest.mark.parametrize("kind", ["logistic", "logistic-mixture", "multiscale", "autoregressive", "categorical"])
def test_training_on_shapes_lowers_the_bits_and_records_them(kind, train_tokenizer, tmp_path):
    few = {"training__batch_size": "4", "data__limit": "48"} if kind == "categorical" else {}
    few |= {"model__likelihood__width": "16"} if kind in ("multiscale", "autoregressive") else {}
    run = train_tokenizer(
        tmp_path / "run", model__likelihood__kind=kind, training__steps="24", training__learning_rate="1e-2", **few
    )
    records = [record for record in read_records(run.metrics) if record["split"] == "validation"]
    costs = [record["bits_per_dim_uniform"] for record in records]
    assert len(costs) == 4 and costs[-1] < costs[0] < 12
    last = records[-1]
    assert last["bits_per_dim_uniform"] == pytest.approx(
        last["bits_per_dim_pixels"] + last["kl_bits_per_dim_uniform"], rel=1e-5
    )
    share = last["kl_bits_per_dim_uniform"] / last["bits_per_dim_uniform"]
    assert last["code_share_uniform"] == pytest.approx(share, rel=1e-5)


def test_a_gaussians_training_records_no_bits_since_its_variance_is_estimated_when_saved(tokenizer_run):
    assert not any("bits_per_dim_uniform" in record for record in read_records(tokenizer_run.metrics))
