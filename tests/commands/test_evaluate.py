"""An evaluation equals its definitions, over the whole split, at any batch size."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.features.test_imagenet import factors, random_weights

import vqvae
from vqvae.cli import main
from vqvae.commands.compare import compare
from vqvae.commands.evaluate import evaluate
from vqvae.commands.image_sets import SideOptions
from vqvae.commands.resolve import open_run
from vqvae.data import load
from vqvae.evaluation import read_evaluation
from vqvae.features import AlexNet, SqueezeNet, network_named
from vqvae.losses import Perceptual
from vqvae.metrics import Models, measure
from vqvae.metrics.baselines import load_counts
from vqvae.metrics.images import psnr, ssim
from vqvae.metrics.lpips import lpips, lpips_network
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.report.results_table import results_table
from vqvae.run_directory import RunDirectory
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.training import Run


def models_of(run: Run) -> Models:
    return Models(load_tokenizer(run.path), load_prior(run.path), load_counts(run.code_counts))


def test_pixels_and_images_are_each_others_inverse() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    images = images_from_pixels(pixels)
    assert images.dtype == torch.float32 and (images.min(), images.max()) == (-1.0, 1.0)
    assert torch.equal(pixels_from_images(images), pixels)
    assert pixels_from_images(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_no_value_depends_on_the_batch_size(prior_run: Run) -> None:
    images = load("shapes", "test", limit=50)
    torch.manual_seed(0)
    distance = Perceptual(SqueezeNet().eval().requires_grad_(False))
    models = replace(models_of(prior_run), features=network_named("judge"), lpips=distance)
    whole, *others = [measure(models, images, batch_size=size) for size in (50, 7, 1)]
    for other in others:
        assert torch.equal(other.code_counts, whole.code_counts) and other.protocol == whole.protocol
        assert other.values == pytest.approx(whole.values, rel=1e-4)


def test_results_equal_a_direct_computation(prior_run: Run) -> None:
    models = models_of(prior_run)
    images = load("shapes", "test", limit=30)
    results = measure(models, images)
    x = images_from_pixels(images.pixels)
    codes = models.tokenizer.encode(x, exact=True)
    reconstruction = models.tokenizer.decode(codes)
    train = images_from_pixels(load("shapes", "train", limit=96).pixels).double()
    error = float((reconstruction - x).double().square().mean())
    assert results["images"] == 30
    assert results["nmse"] == pytest.approx(error / float(train.var(correction=0)), rel=1e-5)
    assert results["psnr"] == pytest.approx(float(psnr(images.pixels, reconstruction).mean()), rel=1e-6)
    assert results["ssim"] == pytest.approx(float(ssim(images.pixels, reconstruction).mean()), rel=1e-6)
    assert results.code_counts.sum() == codes.numel()
    assert models.prior is not None and images.labels is not None
    nats = -models.prior.log_prob(codes, images.labels).detach().double().sum() / codes.numel()
    assert results["bits_per_code_prior"] == pytest.approx(float(nats) / math.log(2), rel=1e-6)
    assert results["bits_per_code_uniform"] == math.log2(16)
    saved = (math.log2(16) - float(nats) / math.log(2)) * 64 / (3 * 32 * 32)
    assert results["bits_per_dim_prior"] == pytest.approx(results.values["bits_per_dim_uniform"] - saved)
    assert results["kl_bits_per_dim_uniform"] == pytest.approx(64 * 4 / 3072)
    with torch.no_grad():
        own, others = (
            models.tokenizer.likelihood.nats(models.tokenizer.decode_parameters(codes[a]), images.pixels[b])
            for a, b in ((slice(1, 30), slice(1, 30)), (slice(0, 29), slice(1, 30)))
        )
    gain = float((others - own).mean()) / math.log(2) / 3072
    assert results["code_gain"] == pytest.approx(gain, rel=1e-6)
    total = results.values["bits_per_dim_prior"]
    assert results["code_share_prior"] == pytest.approx(float(nats) / math.log(2) * 64 / 3072 / total)
    unlabelled = measure(models, images, use_labels=False)
    assert unlabelled["bits_per_code_prior"] != results["bits_per_code_prior"]
    assert results.protocol["labels"] and not unlabelled.protocol["labels"]


def test_without_a_prior_its_values_are_null_and_no_name_changes_its_meaning(
    tokenizer_run: Run, prior_run: Run
) -> None:
    images = load("shapes", "test", limit=8)
    alone, both = (
        measure(Models(load_tokenizer(tokenizer_run.path)), images),
        measure(models_of(prior_run), images),
    )
    assert alone.values.keys() == both.values.keys()
    of_the_prior = {name for name in alone.values if "prior" in name or "unigram" in name}
    assert {name for name in alone.values if alone[name] != both[name]} == of_the_prior
    assert all(alone[name] is None for name in of_the_prior)
    assert " - " in results_table(alone)


def test_counts_of_another_grid_are_ignored(prior_run: Run) -> None:
    models = models_of(prior_run)
    counts = torch.ones(3, 5, 1, 16, dtype=torch.int64)
    results = measure(Models(models.tokenizer, models.prior, counts), load("shapes", "test", limit=4))
    assert results["bits_per_code_unigram"] is None and results["bits_per_code_prior"] is not None


def test_figures_belong_to_the_weights_that_were_measured(
    prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(prior_run.path, run.path)
    run.evaluation.unlink(missing_ok=True)
    evaluate(open_run(run.path), "shapes")
    assert read_evaluation(run)["results"]["images"] == 2000
    run.tokenizer.write_bytes(run.tokenizer.read_bytes() + b"other weights")
    assert read_evaluation(run) == {}
    assert "left out, since the run's models changed after it was written" in capsys.readouterr().err


def test_figures_of_another_tokenizer_are_not_kept(
    tokenizer_run: Run, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(prior_run.path, run.path)
    run.evaluation.unlink(missing_ok=True)
    evaluate(open_run(run.path, tokenizer=tokenizer_run.path), "shapes")
    assert not run.evaluation.exists()
    assert "not kept in the run: they are of another tokenizer" in capsys.readouterr().err


def test_an_evaluation_is_kept_in_the_run_with_what_defines_it(prior_run: Run) -> None:
    results = evaluate(open_run(prior_run.path), "shapes")
    kept = json.loads(prior_run.evaluation.read_text())
    assert kept["results"] == json.loads(json.dumps(results.to_dict()))
    assert sum(kept["counts"]) == 2000 * 64
    ssim_is = kept["results"]["protocol"]["ssim"]
    assert ssim_is["window"] == "gaussian 11x11" and ssim_is["sigma"] == 1.5 and ssim_is["peak"] == 255
    assert kept["results"]["protocol"]["versions"].keys() == {"vqvae", "torch", "python"}
    table = results_table(results)
    for name in ("nmse", "psnr", "ssim", "perplexity", "bits_per_dim_prior"):
        assert f"\n{name} " in f"\n{table}"


def test_lpips_is_measured_where_a_network_and_its_factors_are_given(
    tokenizer_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = f"alexnet:{random_weights(AlexNet(), tmp_path / 'alexnet.pth')}"
    lin = str(factors("alexnet", tmp_path / "lin.pth"))
    options = ["--data", "shapes", "--data.limit", "6", "--json", "--lpips", network, lin]
    main(["evaluate", str(tokenizer_run.path), *options])
    found = json.loads(capsys.readouterr().out)
    tokenizer = load_tokenizer(tokenizer_run.path)
    pixels = load("shapes", "test", limit=6).pixels
    decoded = pixels_from_images(tokenizer.decode(tokenizer.encode(images_from_pixels(pixels), exact=True)))
    distances = lpips(lpips_network(network_named(network), lin, (3, 32, 32)), pixels, decoded)
    assert found["lpips"] == pytest.approx(distances.mean().item(), rel=1e-4)
    assert found["protocol"]["lpips"]["network"] == "alexnet"
    same = vqvae.evaluate(tokenizer, "shapes", lpips=(network, lin), data__limit=6)
    assert same["lpips"] == pytest.approx(found["lpips"], rel=1e-4)


def test_progress_counts_the_images(tokenizer_run: Run) -> None:
    told: list[tuple[int, int]] = []
    evaluate(open_run(tokenizer_run.path), "shapes", progress=lambda *at: told.append(at))
    assert told[0] == (256, 2000) and told[-1] == (2000, 2000)


def test_reconstructions_are_judged_as_a_set_when_a_network_is_named(
    tokenizer_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(tokenizer_run.path), "--data", "shapes", "--data.limit", "40", "--json"])
    plain = json.loads(capsys.readouterr().out)
    judged = ["evaluate", str(tokenizer_run.path), "--data", "shapes", "--data.limit", "40", "--features", "judge"]
    main([*judged, "--json"])
    found = json.loads(capsys.readouterr().out)
    names = ("frechet", "kid", "precision", "recall")
    assert all(plain[name] is None for name in names)
    assert plain == {**found, **dict.fromkeys(names), "protocol": plain["protocol"]}
    options = SideOptions(reading={"data.limit": 40})
    compared = compare("shapes", str(tokenizer_run.path), options=options, resampled=0).to_dict()
    assert {name: found[name] for name in names} == pytest.approx(
        {name: compared[name] for name in names}, rel=1e-4
    )
    assert found["psnr"] == pytest.approx(compared["psnr"]) and found["protocol"]["features"]["network"] == "judge"
