"""The commands that measure and describe: ``evaluate``, ``likelihood``, ``report``, ``doctor``, ``info``."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from vqvae.cli.printing import written
from vqvae.cli.progress import bar


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands."""
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


def _evaluate(arguments: argparse.Namespace) -> None:
    from vqvae.commands.evaluate import evaluate
    from vqvae.commands.resolve import open_run
    from vqvae.report.results_table import results_table

    run = open_run(arguments.run_path, device=arguments.device)
    with bar("evaluate", "image") as progress:
        results = evaluate(run, arguments.data, split=arguments.split, progress=progress)
    print(json.dumps(results.to_dict()) if arguments.json else results_table(results))


def _likelihood(arguments: argparse.Namespace) -> None:
    from vqvae.commands.likelihood import likelihood_picture
    from vqvae.commands.resolve import open_prior_run

    run = open_prior_run(arguments.prior, device=arguments.device)
    with bar("measure", "image") as progress:
        picture, found = likelihood_picture(
            run, arguments.images, data=arguments.data, label=arguments.label, progress=progress
        )
    path = written(picture, arguments.out)
    print(json.dumps(found.to_dict()) if arguments.json else f"{found.table()}\n{path}")


def _report(arguments: argparse.Namespace) -> None:
    from vqvae.report.page import write_report

    print(write_report(Path(arguments.run_path)))


def _doctor(arguments: argparse.Namespace) -> None:
    from vqvae.report.doctor import examine

    examination = examine(arguments.run_path)
    print(examination.to_json() if arguments.json else examination)
    if examination.findings:
        sys.exit(1)


def _info(arguments: argparse.Namespace) -> None:
    from vqvae.model_io import describe

    print(describe(arguments.run_path))
