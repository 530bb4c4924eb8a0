"""A run directory by its path: what it holds has one name, and what is not a run is refused in one line."""

import re
from pathlib import Path

import pytest

from vqvae.errors import UserError
from vqvae.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.config.write_text("stage: tokenizer\n")
    (run.checkpoints / "step-00000008.safetensors").touch()
    return run


def test_a_directory_is_a_run_once_it_has_a_config(run: RunDirectory) -> None:
    assert run.exists and run.check() is run
    run.config.unlink()
    assert not run.exists


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("none", "none: no such run directory"),
        ("other", "other: not a run: it has no config.yaml"),
        ("file", "file: a file, not a run directory; give the folder it is in"),
        ("run/checkpoints", "run/checkpoints: not a run: it has no config.yaml; give {tmp}/run"),
        ("run/config.yaml", "run/config.yaml: a file, not a run directory; give {tmp}/run"),
        (
            "run/checkpoints/step-00000008.safetensors",
            "run/checkpoints/step-00000008.safetensors: a file, not a run directory; give {tmp}/run",
        ),
    ],
)
def test_what_is_not_a_run_is_refused_with_the_run_to_give(
    path: str, says: str, run: RunDirectory, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        RunDirectory(tmp_path / path).check()
    assert str(caught.value) == f"{tmp_path}/{says.format(tmp=tmp_path)}"


def test_the_names_are_spelt_in_one_file_alone() -> None:
    elsewhere = {"README.md", "page.html"}  # also the card of a data set, and a template
    names = [file.name for file in vars_of(RunDirectory(Path("run"))) if "." in file.name]
    names = [name for name in names if name not in elsewhere]
    assert len(names) > 8
    spelt = re.compile("|".join(f'"{re.escape(name)}"' for name in names))
    source = Path(__file__).parent.parent / "src" / "vqvae"
    assert [file.name for file in source.rglob("*.py") if spelt.search(file.read_text())] == ["run_directory.py"]


def vars_of(run: RunDirectory) -> list[Path]:
    properties = [name for name, value in vars(RunDirectory).items() if isinstance(value, property)]
    return [value for name in properties if isinstance(value := getattr(run, name), Path)]
