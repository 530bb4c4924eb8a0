"""Versions: what is tested is pinned, the pins lie in the ranges, and the page about them tells the truth."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(*extras: str) -> dict[str, Requirement]:
    """Return the direct dependencies by name, with those of some extras, or of all extras if none is named."""
    optional = PROJECT["optional-dependencies"]
    found = dict[str, Requirement]()
    for text in [*PROJECT["dependencies"], *(text for extra in extras or optional for text in optional[extra])]:
        requirement = Requirement(text)
        own = _plain(requirement.name) == _plain(PROJECT["name"])  # an extra that takes other extras
        found |= _requirements(*requirement.extras) if own else {_plain(requirement.name): requirement}
    return found


def _pinned_extras() -> list[str]:
    """Return the extras that ``make pins`` pins."""
    return re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text().partition("\npins:")[2])


def _pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text()
    return {_plain(name): Version(version) for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", lines)}


@pytest.mark.parametrize("name", sorted(_requirements(*_pinned_extras())))
def test_every_dependency_of_the_tests_is_pinned_to_a_version_of_its_range(name: str) -> None:
    pin = _pins().get(name)
    assert pin is not None, "make pins adds it"
    assert pin in _requirements()[name].specifier


@pytest.mark.parametrize("name", sorted(_requirements()))
def test_every_range_has_one_lower_bound_and_no_upper_one(name: str) -> None:
    [bound] = _requirements()[name].specifier
    assert bound.operator == ">=", "a package of somebody else must be able to install beside this one"


def test_the_oldest_versions_of_the_page_are_the_lower_bounds() -> None:
    table = (ROOT / "docs/dependencies.md").read_text().partition("| package | oldest | newest |")[2]
    rows = re.findall(r"(?m)^\| ([\w-]+) \| ([\d.]+)[^|]* \| ([\d.]+)[^|]* \|$", table)
    for name, oldest, newest in rows:
        [bound] = _requirements()[_plain(name)].specifier
        lowest = Version(bound.version)
        assert Version(oldest).release[: len(lowest.release)] == lowest.release, name
        assert lowest <= _pins()[_plain(name)] and Version(oldest) <= Version(newest), name
    without = {_plain(Requirement(text).name) for text in PROJECT["dependencies"]} - {
        _plain(row[0]) for row in rows
    }
    assert not without, "the page lists the versions of every dependency"


def test_both_commands_install_what_is_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text()
    rules = dict(re.findall(r"(?m)^([\w$()/.-]+):([^\n=]*(?:\n\t.*)*)", makefile))
    assert "setup" in rules["demo"].split("\n")[0] and "setup" in rules["test"].split("\n")[0]
    assert "$(call pinned_by,constraints.txt)" in rules["$(VENV)/.installed"]
    assert "pyproject.toml constraints.txt" in rules["$(VENV)/.installed"], "new pins are installed by themselves"
