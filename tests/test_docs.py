"""The docs are true: their commands parse, their links lead somewhere, their names exist."""

import re
import shlex
from pathlib import Path

import pytest

from vqvae.cli import parse
from vqvae.config import load_config

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def _commands() -> list[str]:
    found: list[str] = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            found += [line.split("#")[0].strip() for line in block.splitlines() if line.startswith("vqvae ")]
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_understood(command: str) -> None:
    arguments = parse(shlex.split(command)[1:])
    if hasattr(arguments, "recipe"):
        stage = "prior" if hasattr(arguments, "tokenizer") else "tokenizer"
        recipe = arguments.tokenizer if getattr(arguments, "codes_only", False) else arguments.recipe
        load_config(recipe or "cifar10-prior", stage, arguments.overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_it(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_and_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name
    for path in re.findall(r"`((?:tests|benchmarks|docs)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_each_statement_of_the_papers_has_its_code_and_its_test_where_the_page_says() -> None:
    page = (ROOT / "docs" / "paper-to-code.md").read_text()
    places = re.findall(r"^- (?:Code|Tests?): (.*?)(?=^- |^$|^#)", page, re.MULTILINE | re.DOTALL)
    assert places
    for place in places:
        source = ""
        for name in re.findall(r"`([^`]+)`", place):
            if name.endswith(".py"):
                source = (ROOT / ("" if name.startswith("tests/") else "src/vqvae") / name).read_text()
            else:
                assert all(re.search(rf"\b{part}\b", source) for part in name.split(".")), name


def test_the_house_is_as_the_readme_draws_it() -> None:
    drawn = set(re.findall(r"^      ([\w.]+/?) ", (ROOT / "README.md").read_text(), re.MULTILINE))
    source = ROOT / "src" / "vqvae"
    assert all((source / name).exists() for name in drawn)
    folders = {f"{path.name}/" for path in source.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= drawn


def test_nothing_pickles_and_torchs_own_files_are_read_without_running_code() -> None:
    loads = r"torch\.load\((?!.*weights_only=True)"
    banned = re.compile(rf"import pickle|pickle\.load|{loads}|torch\.save\(|allow_pickle=True")
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert not banned.search(path.read_text()), path
