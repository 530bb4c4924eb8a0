"""The command ``vqvae``: parse, call, print; nothing else. Heavy imports wait until a command needs them."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vqvae.cli_tokens import add_tokens, sample_into_store
from vqvae.errors import RankLost, UserError, did_you_mean, what_failed
from vqvae.interruption import Interrupted, interrupt_on_signals

if TYPE_CHECKING:
    from vqvae.training import Run

_RANK_0_FIRST = 5.0  # seconds


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exit 0, 1 for a doctor's finding, 2 for what the user can mend, 130 or 143 after a signal."""
    # of torchrun's processes one speaks, for all say the same
    logging.basicConfig(format="%(message)s", level=logging.ERROR if _rank() else logging.WARNING)
    try:
        with interrupt_on_signals():
            arguments = parse(sys.argv[1:] if argv is None else argv)
            arguments.run(arguments)
    except UserError as error:
        _end(str(error), 2)
    except RankLost as error:
        _end(str(error), 1)
    except Interrupted as stop:
        _end(str(stop), stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # a full disk, a directory that is not ours to write in, a broken device
        _end(what_failed(error), 2)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _end(message: str, code: int) -> NoReturn:
    """Say why in one line and exit.

    Of torchrun's processes rank 0 says it, and torchrun then ends the others; only what befell another rank alone
    is left to say after a while.
    """
    if _rank():
        time.sleep(_RANK_0_FIRST)
        message = f"rank {_rank()}: {message}"
    if not _rank() or code in (1, 2):
        print(f"vqvae: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line; UserError for those that mean nothing."""
    parser = _Parser(
        prog="vqvae",
        description="Discrete image models: a VQ-VAE tokenizer, a prior over its codes, samples, measurements.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run, overrides=None)
        return sub

    _add_training(command)
    _add_pictures(command)
    _add_measures(command)
    add_tokens(command)
    arguments, rest = parser.parse_known_args(argv)
    arguments.overrides = _overrides(rest, configurable=hasattr(arguments, "recipe"))
    return arguments


def _version() -> str:
    from importlib.metadata import version

    return f"vqvae {version('vqvae')}"


def _add_training(command: Callable[..., argparse.ArgumentParser]) -> None:
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


def _add_pictures(command: Callable[..., argparse.ArgumentParser]) -> None:
    sample = command("sample", _sample, "draw new images from a prior")
    sample.add_argument("prior", metavar="PRIOR", help="the prior's run directory")
    sample.add_argument("--num", type=int, default=64, help="images (default: 64)")
    sample.add_argument("--label", help="a class, by name or number (default: all classes in turn)")

    inpaint = command("inpaint", _inpaint, "draw a part of an image, or its details, anew")
    inpaint.add_argument("prior", metavar="PRIOR", help="the prior's run directory")
    inpaint.add_argument("image", metavar="IMAGE", help="an image file")
    hole = inpaint.add_mutually_exclusive_group()
    hole.add_argument("--mask", metavar="PNG", help="as large as the image, white where it is drawn anew")
    hole.add_argument("--box", metavar="TOP,LEFT,HEIGHT,WIDTH", help="what is drawn anew, in pixels")
    inpaint.add_argument(
        "--depth",
        type=int,
        metavar="D",
        default=0,
        help="keep the first D codes of each position, there or everywhere",
    )
    inpaint.add_argument("--num", type=int, default=6, help="ways to fill it (default: 6)")
    inpaint.add_argument(
        "--candidates", type=int, default=8, help="of which each way is chosen by what follows it (default: 8)"
    )
    inpaint.add_argument("--label", help="a class, by name or number (default: none)")

    reconstruct = command("reconstruct", _reconstruct, "show images above their reconstructions")
    reconstruct.add_argument("tokenizer", metavar="TOKENIZER", help="a run directory")
    reconstruct.add_argument("images", metavar="IMAGES", nargs="+", help="image files, or one data SPEC")

    for sub in (sample, inpaint):
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--temperature", type=float, default=1.0)
        sub.add_argument("--top-k", type=int)
        sub.add_argument("--top-p", type=float)
        sub.add_argument("--guidance", type=float, default=1.0, help="above 1 asks for more of the class")
    where = sample.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", metavar="DIR", help="a store of codes instead of a picture, for any --num")
    for sub in (where, inpaint, reconstruct):
        sub.add_argument("--out", metavar="PNG", required=sub is not where, help="the picture; must not exist")
    for sub in (sample, inpaint, reconstruct):
        sub.add_argument("--device", default="auto")


def _add_measures(command: Callable[..., argparse.ArgumentParser]) -> None:
    evaluate = command("evaluate", _evaluate, "measure a tokenizer, and its prior where the run is one")
    evaluate.add_argument("run_path", metavar="RUN")
    evaluate.add_argument("--data", metavar="SPEC", required=True)
    evaluate.add_argument("--split", choices=("train", "test"), default="test")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument("--device", default="auto")

    likelihood = command("likelihood", _likelihood, "say what images cost a prior, where, and how usual that is")
    likelihood.add_argument("prior", metavar="PRIOR", help="the prior's run directory")
    likelihood.add_argument("images", metavar="IMAGES", nargs="+", help="image files, or one data SPEC")
    likelihood.add_argument(
        "--data", metavar="SPEC", help="whose test split is the usual (default: the run's own)"
    )
    likelihood.add_argument("--label", help="the class of the images, by name or number (default: none)")
    likelihood.add_argument("--json", action="store_true", help="print one JSON object")
    likelihood.add_argument("--out", metavar="PNG", required=True, help="the heat map; must not exist")
    likelihood.add_argument("--device", default="auto")

    report = command("report", _report, "write a run's report.html: curves, pictures, codebook use, results")
    report.add_argument("run_path", metavar="RUN")

    doctor = command("doctor", _doctor, "say what is wrong with a run and what to change; exit 1 if anything is")
    doctor.add_argument("run_path", metavar="RUN")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")

    info = command("info", _info, "say what a run or a model file is")
    info.add_argument("run_path", metavar="RUN")


def _overrides(rest: Sequence[str], *, configurable: bool) -> dict[str, str]:
    """Read ``--a.b VALUE`` and ``--a.b=VALUE``; whatever else was left over is an error."""
    from itertools import chain

    options = "out data steps device precision num seed label json split store"
    known = [f"--{name}" for name in options.split()]
    found: dict[str, str] = {}
    words = iter(chain.from_iterable(word.split("=", 1) if word.startswith("--") else [word] for word in rest))
    for word in words:
        if not word.startswith("--") or not configurable:
            raise UserError(f"unknown argument '{word}'{did_you_mean(word, known)}")
        value = next(words, None)
        if value is None or value.startswith("--"):
            raise UserError(f"{word}: expected a value")
        found[word.removeprefix("--").replace("-", "_")] = value
    return found


def _demo(arguments: argparse.Namespace) -> None:
    from vqvae.demo import demo

    demo(arguments.out)


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    short = {
        "data.spec": arguments.data,
        "data.strict": arguments.strict,
        "training.steps": arguments.steps,
        "training.precision": arguments.precision,
        "training.device": arguments.device,
    }
    return {**arguments.overrides, **{key: value for key, value in short.items() if value is not None}}


def _train(arguments: argparse.Namespace) -> None:
    from vqvae.config import load_config
    from vqvae.training import train

    config = load_config(arguments.recipe, "tokenizer", _settings(arguments))
    _finish(train(config, out=arguments.out, name=Path(arguments.recipe).stem))


def _prior(arguments: argparse.Namespace) -> None:
    from vqvae.training import prior_config, train

    config = prior_config(arguments.tokenizer, arguments.recipe, _settings(arguments))
    name = f"{Path(arguments.tokenizer).resolve().name}-prior"
    _finish(train(config, out=arguments.out, name=name))


def _resume(arguments: argparse.Namespace) -> None:
    from vqvae.ownership import check_is_run, owned

    with owned(check_is_run(arguments.run_path)):  # before torch is imported: a second process hears it at once
        from vqvae.training import resume

        shard = None if arguments.shard is None else arguments.shard == "true"
        _finish(resume(arguments.run_path, shard=shard))


def _finish(run: "Run") -> None:
    if not _rank():
        print(f"done: {run.path}; next: vqvae evaluate {run.path} --data SPEC, vqvae report {run.path}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation import evaluate_run, results_table

    results = evaluate_run(
        arguments.run_path, arguments.data, split=arguments.split, device=arguments.device, progress=True
    )
    print(json.dumps(results.to_dict()) if arguments.json else results_table(results))


def _sample(arguments: argparse.Namespace) -> None:
    if arguments.store is not None:
        sample_into_store(arguments, _controls(arguments))
        return
    from vqvae.evaluation import sample_picture

    picture = sample_picture(
        arguments.prior,
        num=arguments.num,
        label=arguments.label,
        device=arguments.device,
        **_controls(arguments),
    )
    _save(picture, arguments.out)


def _inpaint(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation import inpaint_picture

    picture = inpaint_picture(
        arguments.prior,
        arguments.image,
        mask=arguments.mask,
        box=arguments.box,
        depth=arguments.depth,
        num=arguments.num,
        candidates=arguments.candidates,
        label=arguments.label,
        device=arguments.device,
        **_controls(arguments),
    )
    _save(picture, arguments.out)


def _controls(arguments: argparse.Namespace) -> dict[str, Any]:
    from vqvae.sampling import Controls

    controls = Controls(arguments.temperature, arguments.top_k, arguments.top_p, arguments.guidance)
    return {"seed": arguments.seed, "controls": controls}


def _reconstruct(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation import reconstruction_picture

    _save(reconstruction_picture(arguments.tokenizer, arguments.images, device=arguments.device), arguments.out)


def _likelihood(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation import likelihood_picture

    picture, found = likelihood_picture(
        arguments.prior,
        arguments.images,
        data=arguments.data,
        label=arguments.label,
        device=arguments.device,
    )
    path = _written(picture, arguments.out)
    print(json.dumps(found.to_dict()) if arguments.json else f"{found.table()}\n{path}")


def _save(picture: Any, out: str) -> None:
    print(_written(picture, out))


def _written(picture: Any, out: str) -> Path:
    from vqvae.evaluation import save_png

    path = Path(out)
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten: choose another --out")
    try:
        save_png(picture, path)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {path}: cannot write it: {error}") from None
    return path


def _report(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation import write_report

    print(write_report(Path(arguments.run_path)))


def _doctor(arguments: argparse.Namespace) -> None:
    from vqvae.evaluation.doctor import examine

    examination = examine(arguments.run_path)
    print(examination.to_json() if arguments.json else examination)
    if examination.findings:
        sys.exit(1)


def _info(arguments: argparse.Namespace) -> None:
    from vqvae.hub import describe

    print(describe(arguments.run_path))
