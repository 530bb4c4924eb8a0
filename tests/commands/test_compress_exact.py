"""``vqvae compress --exact`` and ``--search``: files of the integer form, and better codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.coding.integer import LIKELIHOODS
from vqvae.commands.compress import compress
from vqvae.commands.decompress import decompress
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.training import Run


def read(path: Path | str) -> Any:
    return np.array(Image.open(path))


def test_exact_files_are_restored_and_cost_less_than_half_a_percent(
    mixture_runs: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pixels = load("shapes", "test", limit=9).pixels.permute(0, 2, 3, 1).numpy()
    np.save(tmp_path / "images.npy", pixels)
    words = ["compress", str(tmp_path / "images.npy"), "--model", str(mixture_runs[1].path), "--split", "all"]
    main([*words, "--lossless", "--exact", "--out", str(tmp_path / "exact.vqi")])
    assert "verified by decoding; every machine with these models decodes it" in capsys.readouterr().out
    main([*words, "--lossless", "--out", str(tmp_path / "float.vqi")])
    sizes = [(tmp_path / f"{name}.vqi").stat().st_size for name in ("exact", "float")]
    assert sizes[0] < 1.005 * sizes[1] + 40
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # other threads, as another machine would have
    try:
        decompress(tmp_path / "exact.vqi", tmp_path / "out")
    finally:
        torch.set_num_threads(before)
    files = sorted((tmp_path / "out").iterdir(), key=lambda path: int(path.stem.rpartition(" ")[2]))
    assert all(np.array_equal(read(file), image) for file, image in zip(files, pixels, strict=True))


def test_exact_files_of_a_gaussian_are_restored(prior_run: Run, images: list[str], tmp_path: Path) -> None:
    compress(images, str(prior_run.path), tmp_path / "x.vqi", exact=True, lossless=True)
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    for name, original in zip(("a", "b c", "a-2", "wide", "e"), images, strict=True):
        assert np.array_equal(read(tmp_path / "out" / f"{name}.png"), read(original))


def test_exact_files_need_models_with_an_integer_form(
    prior_run: Run, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIKELIHOODS, "_makers", {})
    with pytest.raises(UserError, match=r"--exact: the likelihood GaussianLikelihood has no integer form"):
        compress(images[:1], str(prior_run.path), tmp_path / "x.vqi", exact=True, lossless=True)
    assert not (tmp_path / "x.vqi").exists()
    compress(images[:1], str(prior_run.path), tmp_path / "x.vqi", exact=True)  # the codes alone need the prior's


def test_the_shipped_model_compresses_exactly(images: list[str], tmp_path: Path) -> None:
    # it has the network resnet, a transformer and a Gaussian
    compress(images, "cifar10", tmp_path / "x.vqi", exact=True, lossless=True)
    decompress(tmp_path / "x.vqi", tmp_path / "out", only=3)
    assert np.array_equal(read(tmp_path / "out" / "wide.png"), read(images[3]))


def test_a_search_for_codes_saves_bits_and_the_images_are_restored(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(mixture_runs[1].path)
    words = ["compress", images[0], images[3], "--model", model, "--out", str(tmp_path / "x.vqi")]
    with pytest.raises(SystemExit):
        main([*words, "--search", "3"])
    assert "--search" in capsys.readouterr().err and not (tmp_path / "x.vqi").exists()
    main([*words, "--lossless", "--exact", "--search", "16", "--json"])  # all codes
    done = json.loads(capsys.readouterr().out)
    plain = compress([images[0], images[3]], model, tmp_path / "plain.vqi", lossless=True, exact=True)
    assert plain.saved is None and done["saved"] > 0
    assert done["size"] == pytest.approx(plain.size - done["saved"] / 8, abs=16)  # chunks are cut at words
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    for name, original in (("a", images[0]), ("wide", images[3])):
        assert np.array_equal(read(tmp_path / "out" / f"{name}.png"), read(original))
