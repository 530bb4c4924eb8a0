"""A prior that is trained on a store of codes is the prior that is trained on the images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import open_tokenizer_run
from vqvae.errors import UserError
from vqvae.model_io import read_model
from vqvae.training import Run, resume

FEW = {"training__steps": "4", "data__limit": "null", "data__flip": "false"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes without splits; one of the 42 files is no image."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    for row in range(42):
        (folder / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[row % 2] / f"{row:02}.png")
    (folder / "a/10.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def store(pictures: Path, tokenizer_run: Run) -> Path:
    """Return the store of all 42, in shards of ten."""
    out = pictures.parent / "store"
    encode_to_store(open_tokenizer_run(tokenizer_run.path), str(pictures), str(out), shard_rows=10)
    return out


@pytest.mark.parametrize("stream", ["false", "true"])
def test_it_is_the_prior_of_the_images_bit_for_bit(
    stream: str, pictures: Path, store: Path, tokenizer_run: Run, train_prior: Any, tmp_path: Path
) -> None:
    settings = {**FEW, "data__validation": "6"}
    of_images = train_prior(tmp_path / "images", tokenizer_run, data__spec=str(pictures), **settings)
    of_store = train_prior(
        tmp_path / "store", tokenizer_run, data__spec=str(store), data__stream=stream, **settings
    )
    one, other = read_model(of_images.path), read_model(of_store.path)
    assert one.state.keys() == other.state.keys() and one.card == other.card
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    record = json.loads(of_store.data.read_text())
    assert (record["train"]["images"], record["validation"]["images"]) == (33, 6)
    assert "2 of 41 are held out for test" in record["train"]["origin"]
    assert record["train"]["left_out"] == ["1 that could not be decoded"]


def test_it_resumes_from_a_moved_store_and_from_no_other(
    store: Path, tokenizer_run: Run, train_prior: Any, tmp_path: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    run = train_prior(tmp_path / "run", tokenizer_run, data__spec=str(tmp_path / "store"), **FEW)
    (tmp_path / "store").rename(tmp_path / "moved")
    resume(str(run.path), {"data.spec": str(tmp_path / "moved"), "training.steps": "6"})
    assert read_model(run.path).card.step == 6
    other = tmp_path / "other"
    encode_to_store(open_tokenizer_run(tokenizer_run.path), "shapes:60", str(other))
    with pytest.raises(UserError, match="are not the images that the run began with"):
        resume(str(run.path), {"data.spec": str(other), "training.steps": "8"})


def test_what_does_not_fit_is_one_line(
    store: Path, tokenizer_run: Run, train_tokenizer: Any, train_prior: Any, tmp_path: Path
) -> None:
    other = train_tokenizer(tmp_path / "t", training__steps="2", training__seed="1")
    test = tmp_path / "test"
    encode_to_store(open_tokenizer_run(tokenizer_run.path), "shapes:60", str(test), split="test")
    cut = tmp_path / "cut"
    shutil.copytree(store, cut)
    next(cut.glob("codes-00002*")).unlink()
    for tokenizer, spec, settings, says in (
        (other, store, {}, "codes of another tokenizer"),
        (tokenizer_run, test, {}, "codes of a test split: pass a store of the training split"),
        (tokenizer_run, cut, {}, "codes-00002-of-00005.safetensors"),
        (tokenizer_run, store, {"data__flip": "true"}, "one view of each image is stored; set --data.flip false"),
    ):
        with pytest.raises(UserError, match=says):
            train_prior(tmp_path / "run", tokenizer, **{**FEW, "data__spec": str(spec), **settings})
    assert not (tmp_path / "run").exists()


def test_the_flips_of_the_tokenizers_images_are_not_asked_of_a_store(
    store: Path, tokenizer_run: Run, train_prior: Any, tmp_path: Path, capsys: Any
) -> None:
    settings = {key: value for key, value in FEW.items() if key != "data__flip"}  # the tokenizer's run has flips
    run = train_prior(tmp_path / "run", tokenizer_run, data__spec=str(store), **settings)
    assert not run.read_config().data.flip
    with pytest.raises(SystemExit):
        main(["likelihood", str(run.path), "shapes:40", "--out", str(tmp_path / "a.png")])
    assert "--data is needed" in capsys.readouterr().err
