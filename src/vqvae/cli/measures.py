"""Commands that measure and describe: ``evaluate``, ``compare``, ``judge``, ``likelihood``, ``report``, ..."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from vqvae.cli.options import (
    MODELS,
    SPECS,
    add_data,
    add_device,
    add_features,
    add_json,
    add_label,
    add_lpips,
    add_model,
    add_picture,
    add_run,
    add_split,
    add_tokenizer,
)
from vqvae.cli.parser import CommandParser, choice, integer, model, path, spec
from vqvae.cli.printing import as_json, check_out, written
from vqvae.errors import UserError
from vqvae.progress import bar

_COMPARED = (
    "A is the reference, B is the set that is judged. Each is a data set, a store of codes, the run "
    "of a tokenizer "
    "(its reconstructions of the other set) or the run of a prior (as many samples as the other set has images). "
    "All images of a data set without splits are compared."
)
_JUDGE = (
    "The commands compare and evaluate can measure in its features. The judge that is shipped was trained by this "
    "command on CIFAR-10, without the last 2,500 training images."
)
_READING = "Images are resized and converted as the run's own images were, unless an option below changes it."


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "measure a tokenizer; for a prior's run, measure the prior and its tokenizer"
    _describe_evaluate(command("evaluate", _evaluate, text, keys="data", more=_READING))
    text = "measure how similar two sets of images are: pair by pair, and as sets"
    _describe_compare(command("compare", _compare, text, keys="data sets", more=_COMPARED))
    text = "train a judge: a classifier whose features compare sets of images"
    _describe_judge(command("judge", _judge, text, more=_JUDGE))
    text = "measure the likelihood of images under a prior, and draw a map of the bits of each code"
    _describe_likelihood(command("likelihood", _likelihood, text, keys="data", more=_READING))
    text = "write report.html into a run: curves, pictures, codebook use, results"
    add_run(command("report", _report, text))
    text = "find what is wrong with a run and say which options to change"
    doctor = command("doctor", _doctor, text, more="The exit code is 1 if something is wrong, otherwise 0.")
    add_run(doctor)
    add_json(doctor)
    info = command("info", _info, "describe a model, or list the models in this package")
    text = f"the model (default: list the models in this package): {MODELS}"
    info.add_argument("run", metavar="RUN", nargs="?", type=model, help=text)


def _describe_evaluate(evaluate: CommandParser) -> None:
    add_model(evaluate, "run", "the model")
    add_data(evaluate, "the images to measure on", required=True)
    add_split(evaluate, "test")
    text = (
        "also measure the Frechet distance, KID, precision and recall of the reconstructions, in the features of "
        "this network; on a CPU this takes longer than all other metrics (default: off)"
    )
    add_features(evaluate, text, default=None)
    add_lpips(evaluate, "also measure LPIPS of the reconstructions")
    add_tokenizer(evaluate)
    add_json(evaluate)
    add_device(evaluate)


def _describe_judge(judge: CommandParser) -> None:
    add_data(judge, "images of 32x32 pixels with labels", required=True)
    text = "the file of weights to write; a file that exists is never overwritten"
    judge.add_argument("--out", metavar="FILE", type=path, required=True, help=text)
    text = "number of passes over the training images (default: 18)"
    judge.add_argument("--epochs", metavar="N", type=integer, help=text)
    text = "seed of the starting weights, the order of the images and the augmentation (default: 0)"
    judge.add_argument("--seed", metavar="N", type=integer, help=text)
    add_device(judge)


def _describe_compare(compare: CommandParser) -> None:
    for name, role in (("A", "the reference"), ("B", "the set that is judged")):
        text = f"{role}: {SPECS}, of a store, or of a run; or shipped:NAME, a model in this package"
        compare.add_argument(name.lower(), metavar=name, type=spec, help=text)
    add_features(compare, "the network whose features compare the sets (default: judge)", default="judge")
    add_lpips(compare, "also measure LPIPS of pairs")
    text = (
        "how images form pairs: name pairs images with the same name, without endings such as .png; number pairs "
        "images with the same last number in their names; none forms no pairs (default: name)"
    )
    compare.add_argument("--pair", metavar="HOW", type=choice("name", "number", "none"), default="name", help=text)
    text = (
        "which split of a data set with splits: train, validation or test; test,train takes test "
        "for A and train for "
        "B (default: test)"
    )
    compare.add_argument("--split", metavar="NAME", type=_splits, default=("test", "test"), help=text)
    text = f"the tokenizer that decodes a store of codes, or the samples of a prior: {MODELS}"
    compare.add_argument("--tokenizer", metavar="RUN", type=model, help=text)
    text = "number of samples drawn from a prior (default: as many as the other set has images)"
    compare.add_argument("--num", metavar="N", type=integer, help=text)
    compare.add_argument("--seed", metavar="N", type=integer, default=0, help="seed of the samples (default: 0)")
    text = (
        "write an HTML page with the images side by side, worst pairs first; a file that exists "
        "is never overwritten"
    )
    compare.add_argument("--page", metavar="HTML", type=path, help=text)
    add_json(compare)
    add_device(compare)


def _splits(text: str) -> tuple[str, str]:
    one = choice("train", "validation", "test")
    words = [one(word) for word in text.split(",")]
    if len(words) > 2:
        raise argparse.ArgumentTypeError(f"'{text[:40]}': one split, or one for A and one for B")
    return words[0], words[-1]


def _describe_likelihood(likelihood: CommandParser) -> None:
    add_model(likelihood, "prior", "the prior")
    text = (
        f"image files; or a data set, whose first 32 test images are measured: {SPECS}; or a store of codes, "
        "whose images are all measured, without a picture and without a tokenizer"
    )
    likelihood.add_argument("images", metavar="IMAGES", nargs="+", type=spec, help=text)
    text = (
        "the data set whose test images show which likelihoods are typical (default: the data set of the run); "
        "for a store of codes, another store (default: none)"
    )
    add_data(likelihood, text)
    add_label(likelihood, "the class of the images, by name or number (default: none)")
    add_json(likelihood)
    shows = "each image, its reconstruction and the map of its bits; needed for images, none for a store"
    add_picture(likelihood, shows, required=False)
    add_tokenizer(likelihood)
    add_device(likelihood)


def _evaluate(arguments: argparse.Namespace) -> None:
    from vqvae.commands.evaluate import evaluate
    from vqvae.commands.resolve import PriorRun, open_run
    from vqvae.report.results_table import results_table

    decodes = arguments.tokenizer
    run = open_run(arguments.run, tokenizer=decodes, device=arguments.device, reading=arguments.overrides)
    if decodes is not None and not isinstance(run, PriorRun):
        raise UserError(f"--tokenizer: {arguments.run} is a tokenizer itself; leave it out")
    with bar("evaluate", "image") as progress:
        results = evaluate(
            run,
            arguments.data,
            split=arguments.split,
            features=arguments.features,
            lpips=arguments.lpips and tuple(arguments.lpips),
            progress=progress,
        )
    print(as_json(results.to_dict()) if arguments.json else results_table(results))


def _compare(arguments: argparse.Namespace) -> None:
    from vqvae.commands.compare import compare
    from vqvae.commands.image_sets import SideOptions
    from vqvae.report.compare_page import write_comparison
    from vqvae.report.results_table import comparison_table

    page = None if arguments.page is None else check_out(arguments.page, "--page")
    options = SideOptions(
        splits=arguments.split,
        tokenizer=arguments.tokenizer,
        num=arguments.num,
        seed=arguments.seed,
        device=arguments.device,
        reading=arguments.overrides,
    )
    with bar("compare", "image") as progress:
        found = compare(
            arguments.a,
            arguments.b,
            features=arguments.features,
            lpips=arguments.lpips and tuple(arguments.lpips),
            pair=arguments.pair,
            options=options,
            progress=progress,
        )
    print(as_json(found.to_dict()) if arguments.json else comparison_table(found.figures, found.protocol))
    if page is not None:
        write_comparison(page, found.shown((arguments.a, arguments.b)))
        if not arguments.json:
            print(page)


def _judge(arguments: argparse.Namespace) -> None:
    from vqvae.commands.judge import make_judge
    from vqvae.screen import say
    from vqvae.training.judge import JudgeRecipe

    given = {name: value for name in ("epochs", "seed") if (value := getattr(arguments, name)) is not None}
    with bar("judge", "step") as progress:
        card = make_judge(
            arguments.data,
            check_out(arguments.out),
            device=arguments.device,
            recipe=JudgeRecipe(**given),
            log=say,
            progress=progress,
        )
    print(
        f"done: {arguments.out}: {card['test_accuracy']:.4f} of {card['test_images']:,} test images "
        f"classified right; "
        f"next: vqvae compare A B --features {arguments.out}"
    )


def _likelihood(arguments: argparse.Namespace) -> None:
    from vqvae.training.store_data import is_store

    if is_store(arguments.images[0]):
        _code_likelihood(arguments)
        return
    from vqvae.commands.likelihood import likelihood_picture
    from vqvae.commands.resolve import open_prior_run

    if arguments.out is None:
        raise UserError("no --out PNG: the picture of the images is written there; a store of codes needs none")
    check_out(arguments.out)
    run = open_prior_run(
        arguments.prior, tokenizer=arguments.tokenizer, device=arguments.device, reading=arguments.overrides
    )
    with bar("measure", "image") as progress:
        picture, found = likelihood_picture(
            run, arguments.images, data=arguments.data, label=arguments.label, progress=progress
        )
    path = written(picture, arguments.out)
    print(as_json(found.to_dict()) if arguments.json else f"{found.table()}\n{path}")


def _code_likelihood(arguments: argparse.Namespace) -> None:
    """Run ``vqvae likelihood PRIOR STORE``."""
    from vqvae.commands.code_likelihood import code_likelihood
    from vqvae.model_io import choose_device, open_prior

    if len(arguments.images) > 1:
        raise UserError(f"{arguments.images[0]}: a store of codes; give one store alone")
    keys = {f"--{key}": value for key, value in arguments.overrides.items()}
    needless = {"--out": arguments.out, "--tokenizer": arguments.tokenizer, **keys}
    if given := next((name for name, value in needless.items() if value is not None), None):
        raise UserError(f"{given}: for images; a store holds codes: leave it out")
    prior = open_prior(arguments.prior, device=choose_device(arguments.device))
    with bar("measure", "image") as progress:
        found = code_likelihood(
            prior, arguments.images[0], reference=arguments.data, label=arguments.label, progress=progress
        )
    print(as_json(found.to_dict()) if arguments.json else found.table())


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
    if arguments.run is None:
        from vqvae.published import shipped_table

        print(shipped_table())
        return
    from vqvae.model_io import describe

    print(describe(arguments.run))
