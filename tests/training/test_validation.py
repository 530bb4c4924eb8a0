"""What a training measures and selects by: the end of the training split. It never opens the test split."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vqvae.data import load
from vqvae.data.shapes import draw
from vqvae.errors import UserError
from vqvae.files import read_records, write_json
from vqvae.model_io import load_tokenizer
from vqvae.tensors import images_from_pixels
from vqvae.training import Run, resume
from vqvae.training.code_cache import cache_folder
from vqvae.training.tokenizer import TokenizerStage


def _folder(path: Path, *, test: bool) -> str:
    """Write 60 training images; the test split, where there is one, is a folder of files that no decoder reads."""
    (path / "train").mkdir(parents=True)
    for row, pixels in enumerate(draw(torch.arange(60), split="train").permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(path / "train" / f"{row:03d}.png")
    if test:
        (path / "test").mkdir()
        for row in range(5):
            (path / "test" / f"{row}.png").write_bytes(b"not an image")
    return str(path)


def _record(run: Run) -> dict[str, Any]:
    return json.loads(run.data.read_text())


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("test", [False, True])
def test_both_stages_train_where_the_test_split_is_absent_or_cannot_be_read(
    test: bool, stream: str, train_tokenizer: Any, train_prior: Any, tmp_path: Path
) -> None:
    settings = {"data__spec": _folder(tmp_path / "images", test=test), "data__stream": stream}
    few = {"training__steps": "2", "data__limit": "null", "data__strict": "true", "data__validation": "8"}
    tokenizer = train_tokenizer(tmp_path / "tokenizer", **settings, **few)
    prior = train_prior(tmp_path / "prior", tokenizer, classes="false", **few)
    held_out = 0 if test else 3  # without a test split, the images whose names hash lowest are kept for it
    for run in (tokenizer, prior):
        record = _record(run)
        assert "test" not in record
        assert (record["train"]["images"], record["validation"]["images"]) == (52 - held_out, 8)
    assert _record(prior)["validation"] == _record(tokenizer)["validation"]


def test_what_is_measured_in_training_is_the_end_of_the_training_split(
    train_tokenizer: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = _folder(tmp_path / "images", test=True)
    settings = {"data__spec": spec, "data__limit": "null", "data__validation": "8"}
    run = train_tokenizer(tmp_path / "run", **settings, training__steps="4")
    pixels = draw(torch.arange(60), split="train")
    record = _record(run)
    train, validation = load(spec, "train", validation=8), load(spec, "validation", validation=8)
    assert torch.equal(train.pixels, pixels[:52]) and torch.equal(validation.pixels, pixels[52:])
    assert record["train"]["fingerprint"] == train.fingerprint
    assert record["validation"]["fingerprint"] == validation.fingerprint
    # the saved model is the one that was measured last: on these rows it has the NMSE that the log has
    tokenizer, images = load_tokenizer(run.path), images_from_pixels(pixels[52:])
    error = (tokenizer.decode(tokenizer.encode(images)) - images).square().mean() / tokenizer.pixel_variance
    [measured] = [r["nmse"] for r in read_records(run.metrics) if r["split"] == "validation" and r["step"] == 4]
    assert measured == pytest.approx(float(error), rel=1e-5)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith(("train: ", "validation: "))]
    assert [line.split(" colour")[0] for line in said] == ["train: 52", "validation: 8"]
    assert "the last rows, 8 of 60, are held out for validation" in said[0]
    assert "the last rows, 8 of 60, of the training split" in said[1]


def test_a_priors_validation_rows_are_its_tokenizers(tokenizer_run: Run, prior_run: Run) -> None:
    assert _record(prior_run)["validation"] == _record(tokenizer_run)["validation"]
    assert _record(prior_run)["train"] == _record(tokenizer_run)["train"]
    config = prior_run.read_config().data
    assert config.validation == tokenizer_run.read_config().data.validation


def test_codes_of_validation_rows_are_cached_as_such(train_prior: Any, tokenizer_run: Run, tmp_path: Path) -> None:
    train_prior(tmp_path / "prior", tokenizer_run, training__steps="1")
    assert sorted(path.name.split("-")[0] for path in cache_folder().rglob("*.safetensors")) == [
        "train",
        "validation",
    ]


def test_a_tokenizer_without_a_run_leaves_the_default_split(tokenizer_run: Run, tmp_path: Path) -> None:
    from vqvae.training import prior_config

    file = tmp_path / "model.safetensors"
    file.write_bytes(tokenizer_run.model.read_bytes())
    assert prior_config(str(file), "shapes-prior", {}).data.validation == "auto"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_changed_images_of_either_split_are_refused(split: str, train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run", training__steps="2")
    data = _record(run)
    data[split]["fingerprint"] = "0" * 64
    write_json(run.data, data)
    with pytest.raises(
        UserError, match=f"the {split} images at shapes are not the images that the run began with"
    ):
        resume(str(run.path))


def test_the_best_model_is_chosen_by_validation_rows(
    train_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[torch.Tensor] = []
    evaluate = TokenizerStage.evaluate

    def seen(stage: TokenizerStage) -> dict[str, float]:
        measured.append(stage.validation.pixels)
        return evaluate(stage)

    monkeypatch.setattr(TokenizerStage, "evaluate", seen)
    train_tokenizer(tmp_path / "run", data__limit="null", data__spec="shapes:100", data__validation="0.1")
    rows = draw(torch.arange(100), split="train")[90:]
    assert len(measured) == 2 and all(torch.equal(pixels, rows) for pixels in measured)
