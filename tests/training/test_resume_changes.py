"""A run that goes on with other settings: longer, elsewhere, at another learning rate; what changed is noted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from vqvae.cli import main
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.training import Run, resume
from vqvae.training.checkpoint import checkpoint_path, checkpoints

STEADY = {"training__final_rate": "1.0", "revive_until": "1.0"}  # nothing depends on the number of steps


def _changes(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.changes.read_text().splitlines()]


def test_a_run_that_is_made_longer_ends_as_one_that_was_to_be_that_long(
    train_tokenizer: Any, tmp_path: Path
) -> None:
    whole = train_tokenizer(tmp_path / "whole", **STEADY)
    run = train_tokenizer(tmp_path / "run", training__steps="7", **STEADY)
    main(["resume", str(run.path), "--steps", "12"])
    for of in (lambda run: run.model, lambda run: checkpoint_path(run.checkpoints, 12)):
        assert of(run).read_bytes() == of(whole).read_bytes()
    assert _changes(run) == [{"step": 7, "key": "training.steps", "before": 7, "after": 12}]
    assert run.read_config() == whole.read_config()


def test_a_changed_key_acts_from_there_on_stays_and_is_noted(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run", training__steps="6", **STEADY)
    resume(str(run.path), {"training.steps": "8", "training.learning_rate": "1e-4"})
    resume(str(run.path), {"training.steps": "10", "training.learning_rate": "1e-4"})
    rates = [record["learning_rate"] for record in read_records(run.metrics) if record["split"] == "train"]
    assert rates[4:] == pytest.approx([3e-3] * 2 + [1e-4] * 4)
    assert [(change["step"], change["key"], change["after"]) for change in _changes(run)] == [
        (6, "training.steps", 8),
        (6, "training.learning_rate", 1e-4),
        (8, "training.steps", 10),  # what is as it was is no change
    ]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("training.batch_size", "8", "training.batch_size cannot change in a run that has begun"),
        ("training.seed", "8", "training.seed cannot change in a run that has begun"),
        ("model.width", "8", "model.width cannot change in a run that has begun"),
        ("data.flip", "false", "data.flip cannot change in a run that has begun"),
        ("training.optimizer", "muon", "training.optimizer cannot change in a run that has begun"),
        ("training.steps", "many", "training.steps: 'many' is not a whole number"),
        ("training.steps", "3", "training.steps 3: the run is at step 12 already"),
        ("class_dropout", "0.5", "unknown key 'class_dropout'"),
        ("training.step", "5", "unknown key 'training.step'; did you mean 'training.steps'?"),
    ],
)
def test_what_would_make_another_run_is_refused_and_changes_nothing(
    key: str, value: str, says: str, tokenizer_run: Run
) -> None:
    before = tokenizer_run.config.read_text()
    with pytest.raises(UserError) as error:
        resume(str(tokenizer_run.path), {key: value})
    assert says in str(error.value) and "\n" not in str(error.value)
    assert tokenizer_run.config.read_text() == before and not tokenizer_run.changes.exists()


def test_a_run_of_another_device_goes_on_here(train_tokenizer: Any, tmp_path: Path) -> None:
    run = train_tokenizer(tmp_path / "run", training__keep="3")
    config = yaml.safe_load(run.config.read_text())
    config["training"]["device"] = "cuda:7"
    run.config.write_text(yaml.safe_dump(config))
    checkpoint_path(run.checkpoints, 12).unlink()
    with pytest.raises(SystemExit):
        main(["resume", str(run.path)])
    main(["resume", str(run.path), "--device", "cpu"])
    assert checkpoints(run.checkpoints)[-1].name == "step-00000012.safetensors"
    [change] = _changes(run)
    assert (change["step"], change["before"], change["after"]) == (8, "cuda:7", "cpu")


def test_moved_images_are_found_with_data_and_other_images_refused(train_tokenizer: Any, tmp_path: Path) -> None:
    for name, count in (("old", 12), ("other", 13)):
        for split in ("train", "test"):
            (tmp_path / name / split).mkdir(parents=True)
            for number in range(count):
                image = Image.linear_gradient("L").resize((16, 16)).rotate(7 * number)
                image.save(tmp_path / name / split / f"{number}.png")
    run = train_tokenizer(tmp_path / "run", data__spec=str(tmp_path / "old"), training__steps="4")
    shutil.move(tmp_path / "old", tmp_path / "new")
    for moved in (None, tmp_path / "other"):
        with pytest.raises(UserError, match="no folder" if moved is None else "pass --data"):
            resume(str(run.path), {"training.steps": 6, **({"data.spec": str(moved)} if moved else {})})
    main(["resume", str(run.path), "--steps", "6", "--data", str(tmp_path / "new")])
    assert checkpoint_path(run.checkpoints, 6).exists()
    assert run.read_config().data.spec == str(tmp_path / "new")
