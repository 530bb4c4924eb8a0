"""``vqvae likelihood``: the numbers are the prior's own, the picture shows where, and mistakes are one line."""

import json
import shutil
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.likelihood import likelihood_picture
from vqvae.commands.resolve import open_prior_run
from vqvae.data import load
from vqvae.metrics.typicality import typicality
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.report.pictures import heat, with_scale
from vqvae.tensors import images_from_pixels
from vqvae.training import Run


def _nats(run: Run, pixels: torch.Tensor, label: int | None = None) -> torch.Tensor:
    codes = load_tokenizer(run.path).encode(images_from_pixels(pixels), exact=True)
    with torch.no_grad():
        return -load_prior(run.path).log_prob(codes, None if label is None else torch.full((len(codes),), label))


def _file(path: Path, pixels: torch.Tensor) -> str:
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path)
    return str(path)


@pytest.mark.parametrize("label", [None, "star"])
def test_the_figures_are_the_priors_nats_and_their_rank_among_test_images(
    prior_run: Run, tmp_path: Path, label: str | None
) -> None:
    validation = load("shapes", "test")
    number = None if label is None else validation.classes.index(label)
    files = [_file(tmp_path / f"{row}.png", validation.pixels[row]) for row in (3, 4)]
    _, found = likelihood_picture(open_prior_run(prior_run.path), files, label=label)
    expected = _nats(prior_run, validation.pixels[3:5], number)
    usual = validation.pixels if label is None else validation.pixels[validation.labels == number]
    reference = _nats(prior_run, usual[:1000], number)
    assert found.images == tuple(files)
    assert list(found.nats) == pytest.approx(expected.tolist(), rel=1e-5)
    assert list(found.bits_per_code_prior) == pytest.approx((expected / 64 / log(2)).tolist(), rel=1e-5)
    assert found.reference_images == len(reference) == (1000 if label is None else 250)
    assert found.reference_nats == pytest.approx(float(reference.mean()), rel=1e-5)
    assert list(found.typicality) == pytest.approx(typicality(expected, reference).tolist(), abs=0.01)


def test_the_picture_is_bright_where_codes_are_costly(prior_run: Run, tmp_path: Path) -> None:
    pixels = load("shapes", "test", limit=1).pixels[0]
    picture, _ = likelihood_picture(open_prior_run(prior_run.path), [_file(tmp_path / "one.png", pixels)])
    tokenizer, prior = load_tokenizer(prior_run.path), load_prior(prior_run.path)
    codes = tokenizer.encode(images_from_pixels(pixels[None]), exact=True)
    with torch.no_grad():
        nats = prior.code_nats(codes)[0, ..., 0]
    shown = np.asarray(picture)[:96, 2 * 98 : 2 * 98 + 96].astype(float).sum(2)  # the third cell of 96
    brightness = torch.as_tensor(shown).view(8, 12, 8, 12).mean((1, 3))
    ranks = [values.flatten().argsort().argsort().double() for values in (nats, brightness)]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.95
    original = np.asarray(picture)[:96, :96].reshape(32, 3, 32, 3, 3)[:, 1, :, 1]
    assert np.array_equal(original, pixels.permute(1, 2, 0).numpy())


def test_the_scale_goes_from_dark_at_nothing_to_bright_at_the_most() -> None:
    colours = heat(torch.linspace(0, 1, 64).view(1, 8, 8)).int().sum(1).flatten()
    assert (colours.diff() >= 0).all() and colours[0] < 20 and colours[-1] > 500
    picture = with_scale(Image.new("RGB", (50, 100)), 6.5, unit="bits")
    bar = np.asarray(picture)[:, 62].astype(int).sum(1)
    assert bar[0] > 500 and bar[-1] < 20 and (np.diff(bar) <= 0).all()


def test_the_command_prints_a_line_an_image_or_one_json_object(
    prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["likelihood", str(prior_run.path), "shapes"]
    main([*command, "--out", str(tmp_path / "a.png")])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("shapes ")]) == 32 and lines[-1] == str(
        tmp_path / "a.png"
    )
    main([*command, "--json", "--out", str(tmp_path / "b.png")])
    found = json.loads(capsys.readouterr().out)
    assert len(found["nats"]) == len(found["typicality"]) == 32 and found["reference"] == "shapes"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_line_says_what_is_wrong(prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out, bare = str(prior_run.path), ["--out", str(tmp_path / "x.png")], tmp_path / "bare"
    shutil.copytree(prior_run.path, bare, ignore=shutil.ignore_patterns("config.yaml"))
    for argv, says in (
        (["likelihood", run, "shapes", "--label", "hart", *out], "did you mean 'heart'"),
        (["likelihood", run, "/no.png", "/no2.png", *out], "/no.png: no such image file"),
        (["likelihood", run, "shaps", *out], "did you mean 'shapes'"),
        (
            ["likelihood", str(bare), "shapes", *out],
            "--data is needed: ",
        ),
    ):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        lines = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2 and len(lines) == 1 and says in lines[0]
