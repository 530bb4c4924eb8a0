"""The commands that measure and describe: ``evaluate``, ``likelihood``, ``report``, ``doctor``, ``info``."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from vqvae.cli.options import (
    SPECS,
    add_data,
    add_device,
    add_json,
    add_label,
    add_picture,
    add_run,
    add_split,
)
from vqvae.cli.parser import CommandParser, spec
from vqvae.cli.printing import written
from vqvae.progress import bar

_READING = "Images are resized and converted as the run's own images were, unless an option below changes it."


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "measure a tokenizer; for a prior's run, measure the prior and its tokenizer"
    evaluate = command("evaluate", _evaluate, text, keys="data", more=_READING)
    add_run(evaluate, "run", "a run directory or a model file")
    add_data(evaluate, "the images to measure on", required=True)
    add_split(evaluate, "test")
    add_json(evaluate)
    add_device(evaluate)

    text = "measure the likelihood of images under a prior, and draw a map of the bits of each code"
    _describe_likelihood(command("likelihood", _likelihood, text, keys="data", more=_READING))

    text = "write report.html into a run: curves, pictures, codebook use, results"
    report = command("report", _report, text)
    add_run(report, "run", "the run directory")

    text = "find what is wrong with a run and say which options to change"
    doctor = command("doctor", _doctor, text, more="The exit code is 1 if something is wrong, otherwise 0.")
    add_run(doctor, "run", "the run directory")
    add_json(doctor)

    info = command("info", _info, "describe the model in a run or a model file")
    add_run(info, "run", "a run directory or a model file")


def _describe_likelihood(likelihood: CommandParser) -> None:
    add_run(likelihood, "prior", "the prior: its run directory or model file")
    text = f"image files; or a data set, whose first 32 test images are measured: {SPECS}"
    likelihood.add_argument("images", metavar="IMAGES", nargs="+", type=spec, help=text)
    text = "the data set whose test images show which likelihoods are typical (default: the data set of the run)"
    add_data(likelihood, text)
    add_label(likelihood, "the class of the images, by name or number (default: none)")
    add_json(likelihood)
    add_picture(likelihood, "each image, its reconstruction and the map of its bits")
    add_device(likelihood)


def _evaluate(arguments: argparse.Namespace) -> None:
    from vqvae.commands.evaluate import evaluate
    from vqvae.commands.resolve import open_run
    from vqvae.report.results_table import results_table

    run = open_run(arguments.run, device=arguments.device, reading=arguments.overrides)
    with bar("evaluate", "image") as progress:
        results = evaluate(run, arguments.data, split=arguments.split, progress=progress)
    print(json.dumps(results.to_dict()) if arguments.json else results_table(results))


def _likelihood(arguments: argparse.Namespace) -> None:
    from vqvae.commands.likelihood import likelihood_picture
    from vqvae.commands.resolve import open_prior_run

    run = open_prior_run(arguments.prior, device=arguments.device, reading=arguments.overrides)
    with bar("measure", "image") as progress:
        picture, found = likelihood_picture(
            run, arguments.images, data=arguments.data, label=arguments.label, progress=progress
        )
    path = written(picture, arguments.out)
    print(json.dumps(found.to_dict()) if arguments.json else f"{found.table()}\n{path}")


def _report(arguments: argparse.Namespace) -> None:
    from vqvae.report.page import write_report

    print(write_report(Path(arguments.run)))


def _doctor(arguments: argparse.Namespace) -> None:
    from vqvae.report.doctor import examine

    examination = examine(arguments.run)
    print(examination.to_json() if arguments.json else examination)
    if examination.findings:
        sys.exit(1)


def _info(arguments: argparse.Namespace) -> None:
    from vqvae.model_io import describe

    print(describe(arguments.run))
