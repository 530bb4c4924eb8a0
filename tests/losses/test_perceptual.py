"""The perceptual term is equation 1 of LPIPS, and its weights are a file that the run knows by its hash."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tests.losses.kinds import TwoMaps, pair, random_squeezenet

from vqvae.cli import main
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.losses import Perceptual
from vqvae.losses.perceptual import check_fit, unit
from vqvae.training import resume
from vqvae.training.checkpoint import checkpoint_path


@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_is_equation_1_position_by_position(weighted: bool) -> None:
    torch.manual_seed(0)
    network = TwoMaps().double()
    factors = [torch.rand(5).double(), torch.rand(4).double()] if weighted else None
    images, reconstruction = pair(size=6)
    found = Perceptual(network, channel_weights=factors).distances(images, reconstruction)
    for image in range(len(images)):
        expected = 0.0
        maps = zip(network.maps(images), network.maps(reconstruction), factors or (1.0, 1.0), strict=True)
        for y0, y, factor in maps:
            _, _, height, width = y.shape
            for i in range(height):
                for j in range(width):
                    a, b = y0[image, :, i, j], y[image, :, i, j]
                    difference = a / a.norm() - b / b.norm()
                    expected += (factor * difference.square()).sum().item() / (height * width)
        assert found[image].item() == pytest.approx(expected, rel=1e-6)


def test_where_all_features_are_zero_the_gradient_is_finite() -> None:
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit(features).sum().backward()
    assert bool(features.grad.isfinite().all())


def settings(weights: str) -> dict[str, str]:
    losses = f"[{{kind: perceptual, weight: 0.5, network: {{kind: squeezenet, weights: {weights}}}}}]"
    return {"losses": losses, "training__steps": "4", "training__batch_size": "4"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_squeezenet(tmp_path_factory.mktemp("weights") / "squeezenet.safetensors")


@pytest.fixture
def run(train_tokenizer: Any, tmp_path: Path, weights: str) -> Any:
    return train_tokenizer(tmp_path / "run", **settings(weights))


def test_the_run_records_the_hash_and_the_files_hold_no_feature_network(run: Any, weights: str) -> None:
    [loss] = yaml.safe_load(run.config.read_text())["losses"]
    assert len(loss["digest"]) == 64 and loss["network"]["weights"] == weights
    for file in (run.model, checkpoint_path(run.checkpoints, 4)):
        assert not any("fire" in name or "perceptual" in name for name in load_file(file))
    records = [record for record in read_records(run.metrics) if record["split"] == "train"]
    for record in records:
        terms = record["reconstruction"] + record["codebook"] + 0.25 * record["commitment"]
        assert record["loss"] == pytest.approx(terms + 0.5 * record["perceptual"], rel=1e-5)
        assert record["reconstruction_share"] + record["perceptual_share"] == pytest.approx(1.0, rel=1e-5)


def test_a_run_goes_on_with_the_same_weights_wherever_they_are_and_with_no_others(
    train_tokenizer: Any, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(weights, "first.safetensors")
    run = train_tokenizer(tmp_path / "run", **settings("first.safetensors"))
    (tmp_path / "first.safetensors").rename("moved.safetensors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"first\.safetensors: no such file"):
        resume(str(run.path), {"training.steps": "6"})
    key = "losses.perceptual.network.weights"
    random_squeezenet(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(UserError, match="not the weights that the run began with"):
        resume(str(run.path), {"training.steps": "6", key: "../other.safetensors"})
    resume(str(run.path), {"training.steps": "6", key: "../moved.safetensors"})
    [loss] = run.read_config().losses
    assert loss.network.weights == str(tmp_path / "moved.safetensors")
    assert read_records(run.metrics)[-1]["step"] == 6


def test_the_recipe_of_a_sharper_decoder_asks_for_the_trained_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "cifar10-perceptual", "--out", str(tmp_path / "run")])
    assert "add --init RUN" in capsys.readouterr().err


def test_without_weights_one_line_says_how_to_give_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        terms = "[{kind: perceptual, network: {kind: squeezenet}}]"
        main(["train", "shapes", "--losses", terms, "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and not (tmp_path / "run").exists()
    assert len(said) == 1 and "--losses.perceptual.network.weights PATH" in said[0]


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lin0": torch.tensor([-1.0])}, "negative channel weights"),
        (
            {"lin0": torch.tensor([1.0])},
            r"factors for maps of \[1\] channels, but squeezenet has maps of \[64, 128",
        ),
        (None, "no such file; it should hold the channel weights of LPIPS"),
    ],
)
def test_a_wrong_file_of_channel_weights_is_refused(
    tensors: Any, says: str, weights: str, train_tokenizer: Any, tmp_path: Path
) -> None:
    if tensors is not None:
        save_file(tensors, tmp_path / "lin.safetensors")
    wrong = settings(weights)
    wrong["losses"] = wrong["losses"].replace("weight: 0.5", f"channel_weights: {tmp_path / 'lin.safetensors'}")
    with pytest.raises(UserError, match=says):
        train_tokenizer(tmp_path / "run", **wrong)


def test_images_that_are_too_small_for_the_network_are_refused_in_one_line(
    weights: str, train_tokenizer: Any, tmp_path: Path
) -> None:
    small = {"data__size": "8", "data__fit": "crop"}
    with pytest.raises(UserError, match=r"images of 8x8 are too small for squeezenet: set --data\.size"):
        train_tokenizer(tmp_path / "run", **settings(weights), **small)


def test_the_check_of_the_size_runs_on_the_networks_dtype() -> None:
    check_fit(TwoMaps().double(), None, (3, 8, 8))
    with pytest.raises(UserError, match="images of 1x1 are too small"):
        check_fit(TwoMaps().double(), None, (3, 1, 1))
