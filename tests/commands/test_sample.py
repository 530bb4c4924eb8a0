"""Samples: a picture and a store hold the same images, in the same order, of the same classes."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqvae
from vqvae.cli import main
from vqvae.commands.controls import own_controls
from vqvae.commands.publish import publish
from vqvae.commands.resolve import open_prior_run
from vqvae.commands.sample import sample_picture
from vqvae.commands.sample_to_store import sample_to_store
from vqvae.report.pictures import grid
from vqvae.sampling import Controls, labels_in_turn, sample
from vqvae.tensors import pixels_from_images
from vqvae.tokens import Store
from vqvae.training import Run


def images_of(store: Store, run: Run) -> torch.Tensor:
    """Decode a store's rows, uint8 [N, C, H, W]."""
    codes = torch.cat([shard.codes for shard in store.shards()])
    return pixels_from_images(open_prior_run(run.path).tokenizer.model.decode(codes))


@pytest.mark.parametrize(
    "flags", [[], ["--label", "star"], ["--guidance", "2", "--candidates", "2", "--seed", "5"]]
)
def test_image_i_of_the_picture_is_row_i_of_the_store(prior_run: Run, tmp_path: Path, flags: list[str]) -> None:
    command = ["sample", str(prior_run.path), "--num", "20", *flags]
    main([*command, "--out", str(tmp_path / "a.png")])
    main([*command, "--store", str(tmp_path / "store")])
    rows = images_of(Store.open(tmp_path / "store"), prior_run)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(grid(rows)))


def test_classes_take_turns_eight_images_each_wherever_a_shard_begins() -> None:
    whole = labels_in_turn(range(100), 3)
    assert whole is not None and whole[:25].tolist() == [0] * 8 + [1] * 8 + [2] * 8 + [0]
    parts = [labels_in_turn(range(start, min(start + 7, 100)), 3) for start in range(0, 100, 7)]
    assert torch.equal(torch.cat([part for part in parts if part is not None]), whole)
    assert max(Counter(whole.tolist()).values()) - min(Counter(whole.tolist()).values()) <= 8
    assert labels_in_turn(range(100), 0) is None


def test_a_picture_of_64_shows_one_class_a_row(prior_run: Run, tmp_path: Path) -> None:
    run = open_prior_run(prior_run.path)
    pictures = [
        np.asarray(sample_picture(run, num=64, label=label)) for label in (None, run.prior.card.classes[2])
    ]
    third_row = slice(2 * 66, 2 * 66 + 64)
    assert np.array_equal(pictures[0][third_row], pictures[1][third_row])
    assert not np.array_equal(pictures[0][:64], pictures[1][:64])


def test_progress_counts_codes_of_a_picture_and_images_of_a_store(prior_run: Run, tmp_path: Path) -> None:
    run = open_prior_run(prior_run.path)
    told: list[tuple[int, int]] = []
    sample_picture(run, num=3, candidates=2, label="star", progress=lambda *at: told.append(at))
    assert told[0] == (6, 3 * 2 * 64) and told[-1] == (3 * 2 * 64, 3 * 2 * 64)
    told.clear()
    sample_to_store(run.prior, str(tmp_path / "store"), num=5, shard_rows=2, progress=lambda *at: told.append(at))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_samples_of_another_size(prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["sample", str(prior_run.path), "--num", "2", "--size", "32x64", "--out", str(tmp_path / "wide.png")])
    assert "larger grids are drawn in windows of 8x8" in capsys.readouterr().err
    with Image.open(tmp_path / "wide.png") as picture:
        assert picture.size[0] >= 2 * 64
    with pytest.raises(SystemExit, match="2"):
        main(["sample", str(prior_run.path), "--size", "30x64", "--out", str(tmp_path / "no.png")])
    assert "--size 30x64: height and width must be multiples of 4" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["shapes", "shipped:shapes"])
def test_the_next_command_has_the_name_of_a_shipped_prior(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["sample", name, "--num", "1", "--store", "codes"])
    assert f"next: vqvae decode {tmp_path}/codes {name} --out DIR" in capsys.readouterr().out


@pytest.fixture
def tuned_run(prior_run: Run, tmp_path: Path) -> Path:
    """Return a run of a prior whose own settings of sampling are others than the defaults."""
    path = tmp_path / "tuned"
    shutil.copytree(prior_run.path, path)
    main(["resume", str(path), "--sampling.temperature", "0.7", "--sampling.guidance", "2"])
    return path


def drawn(place: Path, out: Path, *options: str) -> np.ndarray:
    """Return the picture of ``vqvae sample``."""
    main(["sample", str(place), "--num", "8", "--out", str(out), *options])
    with Image.open(out) as picture:
        return np.asarray(picture)


def test_without_options_a_model_draws_with_its_own_settings_and_says_so(
    tuned_run: Path, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = drawn(tuned_run, tmp_path / "a.png", "--temperature", "0.7", "--guidance", "2")
    assert "own settings" not in capsys.readouterr().err
    published = publish(tuned_run, tmp_path / "published", name="published")
    for number, place in enumerate((tuned_run, published)):
        assert np.array_equal(drawn(place, tmp_path / f"own{number}.png"), expected)
        assert "drawn with temperature 0.7, guidance 2, the model's own settings" in capsys.readouterr().err
    assert np.array_equal(np.asarray(vqvae.sample(tuned_run, 8)), expected)
    assert "`vqvae sample` draws with temperature 0.7, guidance 2;" in (published / "README.md").read_text()
    main(["sample", str(tuned_run), "--num", "8", "--store", str(tmp_path / "store")])
    rows = images_of(Store.open(tmp_path / "store"), prior_run)
    assert np.array_equal(np.asarray(grid(rows, columns=8)), expected)


def test_one_option_replaces_all_of_a_models_own_settings(
    tuned_run: Path, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = drawn(prior_run.path, tmp_path / "plain.png")
    assert np.array_equal(drawn(tuned_run, tmp_path / "a.png", "--temperature", "1"), plain)
    assert np.array_equal(np.asarray(vqvae.sample(tuned_run, 8, guidance=1)), plain)
    assert "own settings" not in capsys.readouterr().err
    codes = vqvae.load_prior(tuned_run).sample(2, labels=[0, 1])
    assert torch.equal(codes, sample(vqvae.load_prior(prior_run.path), 2, labels=[0, 1])), "the prior itself"


def test_the_pictures_of_a_training_are_drawn_with_the_models_own_settings(
    train_prior: Any, tokenizer_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"sampling__temperature": "0.7", "sampling__guidance": "2", "class_dropout": "0"}
    run = train_prior(tmp_path / "run", tokenizer_run, **own)
    with Image.open(max(run.samples.glob("*.png"))) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(vqvae.sample(run, 64)))
    says = "the prior does not learn codes without a class, which sampling.guidance needs: --class_dropout 0.1"
    assert says in capsys.readouterr().err


def test_without_classes_the_guidance_of_the_settings_is_not_used(tuned_run: Path) -> None:
    prior = open_prior_run(tuned_run).prior
    assert own_controls(tuned_run, prior) == Controls(temperature=0.7, guidance=2.0)
    prior.model.num_classes = 0
    assert own_controls(tuned_run, prior) == Controls(temperature=0.7)
