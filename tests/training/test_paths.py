"""A run stands by itself: where a command was started, and where things lie later, changes nothing."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqvae.errors import UserError
from vqvae.model_io import read_model
from vqvae.report.page import write_report
from vqvae.training import Run, resume

FEW = {"training__steps": "2", "data__limit": "null"}
MORE = {"training.steps": "4"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of 20 images of two classes."""
    for row in range(20):
        pixels = np.random.default_rng(row).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        file = tmp_path / "home/pictures" / "ab"[row % 2] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "home/pictures"


def _train_record(run: Run) -> dict[str, Any]:
    return json.loads(run.data.read_text())["train"]


@pytest.mark.parametrize("spec", [".", "../pictures", "~/pictures", "a/../../pictures"])
def test_a_path_means_the_folder_that_it_meant_when_it_was_given(
    spec: str, pictures: Path, train_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(pictures.parent))
    monkeypatch.chdir(pictures)
    run = train_tokenizer(tmp_path / "t", data__spec=spec, **FEW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Path(run.read_config().data.spec).samefile(pictures)
    before = _train_record(run)
    resume(str(run.path), MORE)
    assert _train_record(run) == before and read_model(run.path).card.step == 4


def test_images_at_a_path_that_is_not_utf_8_are_trained_on(
    pictures: Path, train_tokenizer: Any, train_prior: Any, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    odd.mkdir()
    pictures.rename(odd / "pictures")
    with pytest.raises(UserError, match=r"caf\\xe9/t: a run directory needs a path in UTF-8"):
        train_tokenizer(odd / "t", data__spec=str(odd / "pictures"), **FEW)
    tokenizer = train_tokenizer(tmp_path / "t", data__spec=str(odd / "pictures"), **FEW)
    prior = train_prior(tmp_path / "p", tokenizer, **FEW)
    for run in (tokenizer, prior):
        resume(str(run.path), MORE)
        assert read_model(run.path).card.step == 4
        assert write_report(run.path).exists()


def test_a_priors_run_goes_on_after_everything_was_moved(
    pictures: Path, train_tokenizer: Any, train_prior: Any, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer(tmp_path / "t", data__spec=str(pictures), **FEW)
    prior = train_prior(tmp_path / "p", tokenizer, **FEW)
    shutil.rmtree(tokenizer.path)
    prior.path.rename(tmp_path / "q")
    pictures.rename(tmp_path / "images")
    with pytest.raises(UserError, match="pictures"):
        resume(str(tmp_path / "q"), MORE)
    resume(str(tmp_path / "q"), {**MORE, "data.spec": str(tmp_path / "images")})
    assert read_model(tmp_path / "q").card.step == 4


def test_a_run_inside_its_data_moves_with_them(pictures: Path, train_tokenizer: Any) -> None:
    run = train_tokenizer(pictures / "runs/mine", data__spec=str(pictures), **FEW)
    before = _train_record(run)
    moved = pictures.with_name("moved")
    pictures.rename(moved)
    resume(str(moved / "runs/mine"), {**MORE, "data.spec": str(moved)})
    now = _train_record(Run(moved / "runs/mine"))
    assert now["fingerprint"] == before["fingerprint"] and now["images"] == before["images"]
