"""Models in the package: found by name wherever a model is taken, offline, and never in place of a path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import vqvae
from vqvae import model_place
from vqvae.cli import main
from vqvae.commands.image_sets import SideOptions, open_sides
from vqvae.commands.publish import publish
from vqvae.data import load
from vqvae.model_io import read_model, read_tokenizer
from vqvae.model_place import shipped_models, whole_model
from vqvae.run_directory import RunDirectory
from vqvae.tensors import images_from_pixels
from vqvae.training import Run


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    Image.fromarray(load("shapes:8", "test").pixels[0].permute(1, 2, 0).numpy()).save(path)
    return str(path)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without a network."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens
    return folder


def test_every_shipped_model_is_small_whole_and_described() -> None:
    models = shipped_models()
    assert "shapes" in models
    assert sum(file.stat().st_size for folder in models.values() for file in folder.rglob("*")) < 20 * 2**20
    for name, folder in models.items():
        file, run = read_model(folder), RunDirectory(folder)
        assert read_tokenizer(folder).card.identity == (file.card.identity or file.card.tokenizer)
        card = run.card.read_text()
        for said in ("license: mit", "## Figures", "Measured by", "## Training", "## Intended use", name):
            assert said in card, (name, said)
        bars = {line.replace(r"\|", "").count("|") for line in card.splitlines() if line.startswith("|")}
        assert bars == {5}, "a table with rows of other numbers of cells"
        assert run.published.is_file() and not run.exists


def test_both_stages_load_by_name_and_the_reconstructions_are_as_good_as_the_card_says(elsewhere: Path) -> None:
    tokenizer, prior = vqvae.load_tokenizer("shapes"), vqvae.load_prior("shapes")
    pixels = load("shapes", "test").pixels[:256]
    images = images_from_pixels(pixels)
    nmse = (tokenizer.decode(tokenizer.encode(images)) - images).square().mean() / tokenizer.pixel_variance
    assert float(nmse) < 0.05
    codes = prior.sample(2, seed=0)
    assert tokenizer.decode(codes).shape == (2, 3, 32, 32)
    assert torch.equal(codes, vqvae.load_prior("shipped:shapes").sample(2, seed=0))


def test_every_command_takes_the_name(elsewhere: Path, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (
        "sample shapes --num 2 --label star --out samples.png",
        f"reconstruct shapes {photo} --out reconstruction.png",
        f"inpaint shapes {photo} --box 8,8,8,8 --num 1 --candidates 1 --out inpainted.png",
        f"likelihood shapes {photo} --data shapes:40 --out bits.png",
        "evaluate shapes --data shapes:40",
        "encode shapes --data shapes:20 --split train --out codes",
        "decode codes shapes --out images",
        "compare shapes:80 shipped:shapes --num 16",
        "info shapes",
    )
    before = {file: file.read_bytes() for file in shipped_models()["shapes"].rglob("*") if file.is_file()}
    for line in lines:
        main(line.split())
    made = {path.name for path in elsewhere.iterdir()}
    assert {"samples.png", "reconstruction.png", "inpainted.png", "bits.png", "codes", "images"} <= made
    assert {file: file.read_bytes() for file in before} == before
    assert len([file for file in shipped_models()["shapes"].rglob("*") if file.is_file()]) == len(before)
    assert "identity of" not in capsys.readouterr().err


def test_training_starts_from_a_shipped_tokenizer(elsewhere: Path) -> None:
    few = ["--steps", "2", "--data.limit", "32", "--training.batch_size", "8", "--training.compile", "false"]
    main(["prior", "shapes", "shapes-prior", *few, "--model.layers", "2"])
    kept = read_model(elsewhere / "runs" / "shapes-prior" / "tokenizer" / "model.safetensors")
    assert kept.hash == read_tokenizer("shapes").hash
    config = ["--model.width", "40", "--model.outer_width", "24", "--model.residual_width", "24"]
    main(["train", "shapes", *config, *few, "--init", "shapes", "--freeze", "encoder,quantizer", "--out", "tuned"])
    assert read_model(elsewhere / "tuned").card.identity == kept.card.identity


def test_a_path_wins_over_a_name_and_one_line_says_so(
    elsewhere: Path, tokenizer_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tokenizer_run.path, "shapes")
    for load_it in (lambda: vqvae.load_tokenizer("shapes"), lambda: main(["info", "shapes"])):
        load_it()
        said = [line for line in capsys.readouterr().err.splitlines() if line]
        assert said == [
            f"shapes: the path {elsewhere / 'shapes'} is taken; shipped:shapes is the model in this package"
        ]
    assert vqvae.load_tokenizer("shapes").num_codes == 16
    assert vqvae.load_tokenizer("shipped:shapes").num_codes == 128
    assert whole_model("shapes") == str(elsewhere / "shapes")


def test_a_data_set_wins_over_a_model_of_its_name_in_a_comparison(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_sides("shapes:40", "shapes", SideOptions())
    assert "shapes: the data set is taken; shipped:shapes is the model in this package" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shpes", "shpes: no such run directory or model file; did you mean 'shapes'?"),
        ("nothing", "nothing: no such run directory or model file; vqvae info lists the models in this package"),
        ("shipped:shpes", "shipped:shpes: no such model in this package; did you mean 'shapes'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(elsewhere: Path, name: str, says: str) -> None:
    with pytest.raises(vqvae.UserError) as error:
        vqvae.load_tokenizer(name)
    assert str(error.value) == says


def test_info_without_a_model_lists_the_shipped_models(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("shapes "))
    assert "MiB  tokenizer and prior, images of 3x32x32, PSNR " in line


def test_a_published_folder_serves_as_a_run_and_tells_no_path(prior_run: Run, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(prior_run.path, run.path)
    run.evaluation.unlink(missing_ok=True)
    out = publish(run.path, tmp_path / "small", name="small", license="mit")
    assert (read_model(out).hash, read_tokenizer(out).hash) == (
        read_model(prior_run).hash,
        read_tokenizer(prior_run).hash,
    )
    main(["sample", str(out), "--num", "1", "--out", str(tmp_path / "one.png")])
    told = RunDirectory(out).published.read_text() + RunDirectory(out).card.read_text()
    assert str(tmp_path) not in told and str(prior_run.path.parent) not in told
    assert "Not measured yet" in told
    with pytest.raises(vqvae.UserError, match="exists and is not overwritten"):
        publish(prior_run, out, name="small")


def test_a_published_folder_tells_no_path_of_a_command_or_a_measurement(prior_run: Run, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(prior_run.path, run.path)
    command = f"vqvae prior {tmp_path}/t --data={tmp_path}/photos --out={tmp_path}/run"
    run.environment.write_text(json.dumps({"command": command}))
    results = {"images": 9, "nmse": 0.1, "protocol": {"data": f"{tmp_path}/photos", "split": "test"}}
    run.evaluation.write_text(json.dumps({"results": results, "counts": []}))
    out = publish(run.path, tmp_path / "small", name="small")
    told = RunDirectory(out).published.read_text() + RunDirectory(out).card.read_text()
    assert str(tmp_path) not in told
    assert "vqvae prior t --data=photos" in told and "9 images of photos" in told


def test_a_smaller_copy_has_the_same_codes(prior_run: Run, tmp_path: Path) -> None:
    whole = publish(prior_run, tmp_path / "whole", name="m")
    half = publish(prior_run, tmp_path / "half", name="m", half=True)
    sizes = [RunDirectory(folder).tokenizer.stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.85 * sizes[0]
    assert read_tokenizer(whole).card.identity == read_tokenizer(half).card.identity
    images = images_from_pixels(load("shapes:64", "test").pixels)
    first, second = vqvae.load_tokenizer(whole), vqvae.load_tokenizer(half)
    codes = first.encode(images)
    assert torch.equal(codes, second.encode(images))
    assert (first.decode(codes) - second.decode(codes)).abs().max() < 1 / 127.5
    drawn = [vqvae.load_prior(folder).sample(64, seed=0) for folder in (whole, half)]
    assert torch.equal(*drawn)


def test_a_newcomer_gets_samples_in_one_line_from_a_shell(elsewhere: Path) -> None:
    command = [sys.executable, "-m", "vqvae", "sample", "shapes", "--num", "4", "--out", "four.png"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "four.png").stat().st_size > 500


def test_the_list_of_models_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_place, "SHIPPED", tmp_path / "none")
    assert shipped_models() == {}
