"""The commands that train: ``demo``, ``train``, ``prior``, ``resume``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vqvae.cli.options import MODELS, add_data, add_run
from vqvae.cli.parser import CommandParser, model, path
from vqvae.cli.printing import rank
from vqvae.errors import UserError
from vqvae.screen import say

if TYPE_CHECKING:
    from vqvae.training import Run

_PRIOR = "cifar10-prior"
_SHORT_NAMES = ("data", "strict", "steps", "precision", "device", "init")


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "train both stages on built-in images in a few minutes, then sample, measure and write a report"
    demo = command("demo", _demo, text)
    text = "the folder to write the demo's runs to (default: runs/demo, or the next free name)"
    demo.add_argument("--out", metavar="DIR", type=path, help=text)
    _describe_train(command("train", _train, "train a tokenizer", keys="tokenizer"))
    _describe_prior(command("prior", _prior, "train a prior on the codes of a tokenizer", keys="prior"))
    _describe_resume(
        command(
            "resume",
            _resume,
            "continue a run from its newest checkpoint",
            keys="run",
            more="Without options, the run ends bit for bit like an uninterrupted run. An option changes the "
            "run from here on: the number of steps in all, the device, or one of the keys that are listed below. "
            "With --steps, the learning rate from here on is the rate of a run "
            "planned with this number of steps: the cosine after the warmup is stretched. The run records each "
            "change and its step in changes.jsonl.",
        )
    )


def _describe_train(train: CommandParser) -> None:
    text = "the name of a shipped recipe (listed below) or the path of a YAML file"
    train.add_argument("recipe", metavar="RECIPE", help=text)
    add_data(train, "the images (default: the images of the recipe)")
    text = (
        "start from this trained tokenizer, a run directory or model file, instead of from random weights; data, "
        "image size, number of codes and losses may differ. --freeze encoder,quantizer then trains the decoder "
        "alone, and priors and stores made before stay valid"
    )
    _describe_start(train, text)


def _describe_prior(prior: CommandParser) -> None:
    text = f"the tokenizer: {MODELS}; left out with --codes-only"
    prior.add_argument("tokenizer", metavar="TOKENIZER", nargs="?", type=model, help=text)
    text = "the name of a shipped recipe (listed below) or the path of a YAML file (default: cifar10-prior)"
    prior.add_argument("recipe", metavar="RECIPE", nargs="?", help=text)
    add_data(prior, "the images, or a store of codes that vqvae encode made (default: the tokenizer's images)")
    text = (
        "train on the codes of a store alone, of any tokenizer: vqvae prior RECIPE --data STORE --codes-only. "
        "The likelihood of a store and samples into a store then need no tokenizer either"
    )
    prior.add_argument("--codes-only", action="store_true", help=text)
    _describe_start(prior, "start from this trained prior of the same tokenizer, instead of from random weights")


def _describe_start(sub: CommandParser, init: str) -> None:
    """Add the options of both stages: the run directory, and short names of keys."""
    name = "RECIPE" if sub.keys == "tokenizer" else "TOKENIZER-prior"
    text = f"the run directory to make (default: runs/{name}, or the next free name)"
    sub.add_argument("--out", metavar="DIR", type=path, help=text)
    sub.add_argument("--init", metavar="RUN", type=model, help=init)
    text = "stop at the first file that cannot be decoded, instead of skipping it; short for --data.strict true"
    sub.add_argument("--strict", action="store_const", const="true", help=text)
    text = "precision of the networks: auto, bf16 or fp32; short for --training.precision"
    sub.add_argument("--precision", metavar="NAME", help=text)
    _describe_loop(sub)


def _describe_loop(sub: CommandParser) -> None:
    text = "number of optimizer steps, such as 500 or 10k; short for --training.steps"
    sub.add_argument("--steps", metavar="N", help=text)
    text = "device to train on: auto, cpu, cuda, cuda:1 or mps; short for --training.device"
    sub.add_argument("--device", metavar="NAME", help=text)


def _describe_resume(resume: CommandParser) -> None:
    add_run(resume)
    add_data(resume, "the new place of the training images, if they were moved")
    _describe_loop(resume)


def _demo(arguments: argparse.Namespace) -> None:
    from vqvae.commands.demo import demo

    demo(arguments.out)


def _train(arguments: argparse.Namespace) -> None:
    from vqvae.config import load_config, recipe_name
    from vqvae.training import train

    config = load_config(arguments.recipe, "tokenizer", _settings(arguments))
    _finish(train(config, out=arguments.out, name=recipe_name(arguments.recipe)))


def _prior(arguments: argparse.Namespace) -> None:
    from vqvae.model_io import read_tokenizer_alone
    from vqvae.model_place import name_of_model
    from vqvae.training import prior_config, train

    given, recipe = _tokenizer_and_recipe(arguments)
    tokenizer = None if given is None else read_tokenizer_alone(given)
    config = prior_config(tokenizer, recipe or _PRIOR, _settings(arguments))
    name = f"{name_of_model(config.data.spec if given is None else given)}-prior"
    _finish(train(config, out=arguments.out, name=name, tokenizer=tokenizer), codes_only=tokenizer is None)


def _tokenizer_and_recipe(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return the tokenizer, None with ``--codes-only``, and the recipe."""
    first, second = arguments.tokenizer, arguments.recipe
    if not arguments.codes_only:
        if first is None:
            raise UserError("no TOKENIZER: give its run, or --codes-only --data STORE for a prior of codes alone")
        return first, second
    if first is not None and second is not None:
        raise UserError(f"--codes-only: no tokenizer is used: leave out {first}")
    if arguments.data is None:
        raise UserError("--codes-only: pass --data STORE, a store of codes")
    return None, first


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the values of the given options by recipe key; short names become keys."""
    from vqvae.config import full_keys

    short = {name: getattr(arguments, name, None) for name in _SHORT_NAMES}
    given = {name: value for name, value in short.items() if value is not None}
    try:
        return full_keys({**arguments.overrides, **given})
    except UserError as error:
        raise UserError(f"--{error}") from None


def _resume(arguments: argparse.Namespace) -> None:
    from vqvae.ownership import owned
    from vqvae.run_directory import RunDirectory

    settings = _settings(arguments)
    # before torch is imported: a second process on the same run is told at once that the run is in use
    with owned(RunDirectory(Path(arguments.run)).check().path):
        from vqvae.training import resume

        _finish(resume(arguments.run, settings))


def _finish(run: "Run", *, codes_only: bool = False) -> None:
    if not rank():
        measure = f"likelihood {run.path} STORE" if codes_only else f"evaluate {run.path} --data SPEC"
        ended = f"done: {run.path}; next: vqvae {measure}, vqvae report {run.path}"
        say(ended, to=sys.stdout)
