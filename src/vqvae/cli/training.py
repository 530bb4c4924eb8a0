"""The commands that train: ``demo``, ``train``, ``prior``, ``resume``."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vqvae.cli.printing import rank

if TYPE_CHECKING:
    from vqvae.training import Run


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands."""
    demo = command("demo", _demo, "everything on the embedded data in minutes: both stages, samples, a report")
    demo.add_argument("--out", help="directory for the demo's runs (default: runs/demo, or the next free name)")

    more = "; any key of the recipe is an option too: --training.learning_rate 5e-4"
    train = command("train", _train, "train a tokenizer" + more)
    train.add_argument(
        "recipe", metavar="RECIPE_OR_YAML", help="a shipped recipe's name or the path of a .yaml file"
    )
    prior = command("prior", _prior, "train a prior over a tokenizer's codes" + more)
    prior.add_argument("tokenizer", metavar="TOKENIZER", help="the tokenizer's run directory")
    prior.add_argument(
        "recipe", metavar="RECIPE_OR_YAML", nargs="?", default="cifar10-prior", help="(default: cifar10-prior)"
    )
    for sub in (train, prior):
        sub.add_argument("--data", metavar="SPEC", help="shapes, cifar10, hf:OWNER/NAME, or a path")
        sub.add_argument(
            "--out", metavar="DIR", help="run directory (default: runs/RECIPE, or the next free name)"
        )
        sub.add_argument("--steps", metavar="N", help="optimizer steps")
        sub.add_argument(
            "--strict", action="store_const", const="true", help="stop at a file that cannot be decoded"
        )
        sub.add_argument("--precision", choices=("auto", "bf16", "fp32"))
        sub.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")

    resume = command("resume", _resume, "continue a run exactly where its newest checkpoint stands")
    resume.add_argument("run_path", metavar="RUN")
    resume.add_argument(
        "--training.shard",
        dest="shard",
        choices=("true", "false"),
        help="share weights out over ranks, or no longer (default: as the run's config says)",
    )


def _demo(arguments: argparse.Namespace) -> None:
    from vqvae.commands.demo import demo

    demo(arguments.out)


def _train(arguments: argparse.Namespace) -> None:
    from vqvae.config import load_config
    from vqvae.training import train

    config = load_config(arguments.recipe, "tokenizer", _settings(arguments))
    _finish(train(config, out=arguments.out, name=Path(arguments.recipe).stem))


def _prior(arguments: argparse.Namespace) -> None:
    from vqvae.model_io import read_model
    from vqvae.training import prior_config, train

    tokenizer = read_model(arguments.tokenizer)
    config = prior_config(tokenizer, arguments.recipe, _settings(arguments))
    name = f"{Path(arguments.tokenizer).resolve().name}-prior"
    _finish(train(config, out=arguments.out, name=name, tokenizer=tokenizer))


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    short = {
        "data.spec": arguments.data,
        "data.strict": arguments.strict,
        "training.steps": arguments.steps,
        "training.precision": arguments.precision,
        "training.device": arguments.device,
    }
    return {**arguments.overrides, **{key: value for key, value in short.items() if value is not None}}


def _resume(arguments: argparse.Namespace) -> None:
    from vqvae.ownership import owned
    from vqvae.run_directory import RunDirectory

    run = RunDirectory(Path(arguments.run_path)).check()
    with owned(run.path):  # before torch is imported, so that a second process is refused at once
        from vqvae.training import resume

        shard = None if arguments.shard is None else arguments.shard == "true"
        _finish(resume(arguments.run_path, shard=shard))


def _finish(run: "Run") -> None:
    if not rank():
        print(f"done: {run.path}; next: vqvae evaluate {run.path} --data SPEC, vqvae report {run.path}")
