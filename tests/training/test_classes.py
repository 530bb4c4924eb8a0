"""A prior's classes are those of the data it is trained on; whatever is measured or drawn is matched by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.evaluate import evaluate
from vqvae.commands.likelihood import likelihood_picture
from vqvae.commands.resolve import open_prior_run
from vqvae.commands.sample_to_store import sample_to_store
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.metrics import Models, measure
from vqvae.metrics.baselines import load_counts
from vqvae.model_io import load_prior, open_prior, read_model, save_model
from vqvae.training import Run, resume

FOOD = {"apple": 12, "bread": 12, "carrot": 12}
FEW = {"training__steps": "2", "data__limit": "null"}


def _write(folder: Path, counts: dict[str, int], first: int = 0) -> str:
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for row in range(count):
            coarse = np.random.default_rng(first).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((32, 32)).save(folder / kind / f"{row}.png")
            first += 1
    return str(folder)


@pytest.fixture(scope="module")
def food(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of three classes, none of which the tokenizer's own images have."""
    return _write(tmp_path_factory.mktemp("data") / "food", FOOD)


@pytest.fixture(scope="module")
def food_prior(food: str, tokenizer_run: Run, train_prior: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a prior of the three classes, over a tokenizer of eight others; not to be changed."""
    return train_prior(tmp_path_factory.mktemp("runs") / "food", tokenizer_run, data__spec=food, **FEW)


def test_a_priors_classes_are_those_of_its_own_data(food_prior: Run, tmp_path: Path) -> None:
    card, prior = read_model(food_prior.path).card, load_prior(food_prior.path)
    assert card.classes == tuple(FOOD) and prior.num_classes == 3
    assert json.loads(food_prior.data.read_text())["classes"] == list(FOOD)
    store = sample_to_store(open_prior(food_prior.path), str(tmp_path / "store"), num=2, label="bread")
    assert store.header.classes == tuple(FOOD) and store.read(0).labels.tolist() == [1, 1]
    for name in ("circle", "3"):  # the tokenizer's classes, and a number beyond the prior's
        with pytest.raises(UserError, match="no such class"):
            sample_to_store(open_prior(food_prior.path), str(tmp_path / "no"), num=2, label=name)


def test_an_evaluation_matches_classes_by_name(food_prior: Run, tmp_path: Path) -> None:
    other = _write(tmp_path / "other/test", {"bread": 5, "carrot": 5}, 900)
    _write(tmp_path / "other/train", {"bread": 2, "carrot": 2}, 950)
    found = evaluate(open_prior_run(food_prior.path), str(tmp_path / "other"))
    run = open_prior_run(food_prior.path)
    images = load(other, "all")
    assert images.classes == ("bread", "carrot")
    models = Models(run.tokenizer.model, run.prior.model, load_counts(food_prior.code_counts))
    by_name, by_number = (
        measure(models, replace(images, labels=images.labels + shift))["bits_per_code_prior"] for shift in (1, 0)
    )
    assert found["bits_per_code_prior"] == by_name != by_number
    assert (
        found.protocol["labels"]
        and found.protocol["fingerprint"] == load(str(tmp_path / "other"), "test").fingerprint
    )


def test_a_class_that_the_prior_was_not_trained_on_is_refused_by_name(food_prior: Run, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(food_prior.path), "--data", "shapes:40"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert "was not trained on the class" in last and "apple, bread, carrot" in last


def test_images_without_classes_are_measured_without_and_it_is_said(
    food_prior: Run, tmp_path: Path, capsys: Any
) -> None:
    plain = _write(tmp_path / "plain", {".": 10}, 700)
    found = evaluate(open_prior_run(food_prior.path), plain, split="train")
    assert not found.protocol["labels"]
    assert "have no classes: the prior is measured without" in capsys.readouterr().err


def test_references_of_a_class_are_found_by_name(food_prior: Run, tmp_path: Path) -> None:
    data = _write(tmp_path / "data/test", {"carrot": 4, "bread": 3}, 800)
    _write(tmp_path / "data/train", {"carrot": 1, "bread": 1}, 850)
    file = f"{data}/carrot/0.png"
    _, found = likelihood_picture(
        open_prior_run(food_prior.path), [file], data=str(tmp_path / "data"), label="carrot"
    )
    assert found.reference_images == 4


def test_validation_images_of_a_class_that_train_lacks_are_refused(
    tokenizer_run: Run, train_prior: Any, tmp_path: Path
) -> None:
    for split, counts in (("train", {"a": 8, "b": 8}), ("val", {"a": 2, "c": 2}), ("test", {"a": 1})):
        _write(tmp_path / "data" / split, counts)
    with pytest.raises(UserError, match=r"have the class 'c', which no training image has: set --classes false"):
        train_prior(tmp_path / "run", tokenizer_run, data__spec=str(tmp_path / "data"), **FEW)
    assert not (tmp_path / "run").exists()


def test_a_prior_without_classes_names_none_and_says_so(
    food: str, tokenizer_run: Run, train_prior: Any, tmp_path: Path, capfd: Any
) -> None:
    run = train_prior(tmp_path / "run", tokenizer_run, data__spec=food, classes="false", **FEW)
    assert read_model(run.path).card.classes == ()
    assert "without the 3 classes (--classes true)" in capfd.readouterr().err


def test_a_run_whose_classes_were_renamed_does_not_go_on(
    food: str, tokenizer_run: Run, train_prior: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(food, data)
    run = train_prior(tmp_path / "run", tokenizer_run, data__spec=str(data), **FEW)
    (data / "apple").rename(data / "aubergine")  # the same pixels and the same numbers
    with pytest.raises(
        UserError, match="are aubergine, bread, carrot, but the run began with apple, bread, carrot"
    ):
        resume(str(run.path), {"training.steps": "4"})


def test_the_column_of_labels_of_a_tokenizers_data_is_not_asked_of_other_data(
    food: str, train_tokenizer: Any, train_prior: Any, tmp_path: Path
) -> None:
    pets = Path(_write(tmp_path / "pets", {".": 20}))
    rows = "".join(f"{row}.png,{'pug' if row % 2 else 'tabby'}\n" for row in range(20))
    (pets / "pets.csv").write_text(f"file_name,breed\n{rows}")
    tokenizer = train_tokenizer(tmp_path / "t", data__spec=str(pets), data__label="breed", **FEW)
    assert read_model(train_prior(tmp_path / "p", tokenizer, **FEW).path).card.classes == ("pug", "tabby")
    other = train_prior(tmp_path / "q", tokenizer, data__spec=food, **FEW)
    assert read_model(other.path).card.classes == tuple(FOOD)


def test_a_card_that_names_other_than_its_number_of_classes_is_damaged(food_prior: Run, tmp_path: Path) -> None:
    file = read_model(food_prior.path)
    save_model(tmp_path / "p.safetensors", file.state, replace(file.card, classes=("apple",)))
    with pytest.raises(UserError, match="its card names 1 of 3 classes"):
        load_prior(tmp_path / "p.safetensors")


def test_the_card_of_a_prior_says_the_shape_of_its_own_images(
    tokenizer_run: Run, train_prior: Any, tmp_path: Path
) -> None:
    pixels = torch.randint(0, 256, (24, 16, 16, 3), dtype=torch.uint8).numpy()
    for row, image in enumerate(pixels):
        (tmp_path / f"data/{row % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"data/{row % 2}/{row}.png")
    run = train_prior(tmp_path / "run", tokenizer_run, data__spec=str(tmp_path / "data"), **FEW)
    assert read_model(run.path).card.image_shape == (3, 16, 16)
