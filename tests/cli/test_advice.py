"""Advice that works: whatever option a message names, the command that says it takes."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vqvae
from vqvae.cli.keys import read_keys
from vqvae.cli.parser import CommandParser
from vqvae.cli.parsing import parsers
from vqvae.errors import UserError, did_you_mean

SOURCE = Path(str(vqvae.__file__)).parent
READ_IMAGES = ["train", "prior", "evaluate", "encode", "reconstruct", "likelihood", "inpaint"]
OPEN_MODELS = [*READ_IMAGES, "sample", "resume", "decode"]
# where advice stands -> the commands that may say it; a folder stands for its files that are not named themselves
SAID_BY = {
    "coding": ["compress"],
    "commands/coding_models.py": ["compress", "decompress"],
    "commands/compress.py": ["compress"],
    "commands/decompress.py": ["decompress"],
    "commands/export.py": ["export", "page"],
    "commands/page.py": ["page"],
    "commands/publish.py": ["push"],
    "commands/compare.py": ["compare"],
    "commands/decode.py": ["decode"],
    "commands/demo.py": ["demo"],
    "commands/encode.py": ["encode"],
    "commands/image_sets.py": ["compare"],
    "commands/inpaint.py": ["inpaint"],
    "commands/likelihood.py": ["likelihood"],
    "commands/sample.py": ["sample"],
    "commands/evaluate.py: --lpips": ["evaluate"],
    "metrics/lpips.py": ["compare", "evaluate"],
    "commands/judges.py": ["compare", "evaluate"],
    "commands/resolve.py: --label": ["sample", "inpaint", "likelihood"],
    "commands/resolve.py: --tokenizer": ["sample", "inpaint", "evaluate", "likelihood", "compare"],
    "config/mistakes.py": OPEN_MODELS,
    "data": READ_IMAGES,
    "data/decode_all.py: --data.channels": ["train", "prior"],
    "data/find.py: --data": ["train", "prior"],
    "data/splits.py: --split": ["encode"],
    "data/splits.py: --data.validation": [name for name in READ_IMAGES if name != "encode"],
    "losses/adversarial.py": ["train"],
    "losses/perceptual.py: --data.size": ["train"],
    "losses/perceptual.py": ["train", "resume"],
    "training/extra_losses.py: --out": ["judge"],
    "training/extra_losses.py": ["train", "resume"],
    "model_io.py": ["train", "prior", "resume", "sample", "evaluate", "encode", "decode", "reconstruct"],
    "evaluation.py": ["evaluate"],
    "report/hub_card.py": ["reconstruct"],
    "report/page.py": ["evaluate"],
    "training": ["train", "prior"],
    "training/metrics.py": ["train", "prior", "resume"],
    "training/non_finite.py": ["train", "prior", "resume"],
    "training/sharding.py": ["train", "prior", "resume"],
    "training/initial.py: --classes": ["prior"],
    "training/prior_start.py: --store": ["sample"],
    "training/prior_start.py": ["prior"],
    "training/prior_start.py: --classes": ["prior"],
    "priors/pixelcnn.py: --model.layers": ["prior"],
    "training/start.py: --classes": ["prior"],
    "training/store_data.py": ["prior"],
    "training/run_data.py: --data": ["resume"],
}
NOT_ADVICE = {
    "report/hub_card.py": ["--data", "--num", "--out"],  # commands that a model card shows
    "training/trackers.py": ["--project"],  # of trackio
    "report/plots.py": ["--ink"],
    "config/mistakes.py": ["--help"],
}


def _strings(file: Path) -> Iterator[str]:
    """Yield the strings of a module but its docstrings."""
    tree = ast.parse(file.read_text())
    documented = [ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef]
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if type(node) in documented and node.body
                  and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def _advice() -> list[tuple[str, str]]:
    """Return each option that stands in a message, with the module that it stands in; not those of cli/ itself."""
    found: set[tuple[str, str]] = set()
    for file in SOURCE.rglob("*.py"):
        name = file.relative_to(SOURCE).as_posix()
        options = {option for text in _strings(file) for option in re.findall(r"--[a-z][\w.-]*\w", text)}
        if not name.startswith("cli/"):
            found |= {(name, option) for option in options if option not in NOT_ADVICE.get(name, [])}
    return sorted(found)


def _takes(command: CommandParser, option: str) -> bool:
    if option in command.options:
        return True
    try:
        return bool(command.keys) and bool(read_keys(command, [(option, "1")]))
    except UserError:
        return False


@pytest.mark.parametrize(("module", "option"), _advice())
def test_an_option_that_a_message_advises_is_one_that_the_command_takes(module: str, option: str) -> None:
    _, commands = parsers()
    places = (f"{module}: {option}", module, module.partition("/")[0])
    says = next((SAID_BY[place] for place in places if place in SAID_BY), None)
    assert says, f"{module} advises {option}: say in SAID_BY which commands may print that"
    assert [name for name in says if not _takes(commands[name], option)] == []


@pytest.mark.parametrize("name", sorted(parsers()[1]))
def test_a_commands_own_help_names_only_options_of_the_command(name: str) -> None:
    command = parsers()[1][name]
    texts = [str(action.help) for action in command._actions if action.help != argparse.SUPPRESS]
    named = {
        option for text in [*texts, command.description or ""] for option in re.findall(r"--\w[\w.-]*\w", text)
    }
    assert [option for option in named if not _takes(command, option)] == []


@pytest.mark.parametrize("name", sorted(parsers()[1]))
def test_every_option_says_what_it_does_and_what_it_takes(name: str) -> None:
    for action in parsers()[1][name]._actions:
        assert action.help and len(action.help) > 10, action
        if action.option_strings and action.nargs != 0:
            assert action.metavar, action
            said = str(action.default) in action.help or "default" in action.help or "short for" in action.help
            assert action.default in (None, []) or said, action


def test_did_you_mean_never_suggests_what_was_typed_and_never_lists_a_page() -> None:
    assert did_you_mean("abc", ["abc", "abd"]) == "; did you mean 'abd'?"
    assert did_you_mean("abc", ["abc"]) == ""
    assert did_you_mean("Abc", ["abc", "xyz"]) == "; did you mean 'abc'?"
    listed = did_you_mean("zzz", [f"n{number:04d}" for number in range(1000)])
    assert len(listed) < 250 and listed.endswith("... (1000 in all)")
