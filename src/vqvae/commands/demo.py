"""Train both stages on the built-in images, draw samples, measure them, and write a report."""

import sys
from pathlib import Path

from vqvae.commands.evaluate import evaluate
from vqvae.commands.resolve import open_run
from vqvae.config import load_config
from vqvae.errors import UserError
from vqvae.files import make_first_free
from vqvae.model_io import read_model
from vqvae.report.page import write_report
from vqvae.report.results_table import results_table
from vqvae.screen import say
from vqvae.training import prior_config, train


def demo(out: str | None) -> None:
    """Train a tokenizer and a class-conditional prior on ``shapes``, measure them, and write a report on both.

    Args:
        out: the folder of both runs; None takes ``runs/demo``, or the next free one of ``runs/demo-2``, ...

    Raises:
        UserError: when ``out`` exists.
    """
    folder = Path(out) if out else make_first_free(Path("runs/demo"))
    if out and folder.exists():
        raise UserError(f"{folder} exists and is not overwritten: choose another --out")
    _tell(f"1/4  train a tokenizer, which maps images to 8 x 8 codes and back ({folder}/tokenizer)")
    tokenizer = train(load_config("shapes", "tokenizer"), out=str(folder / "tokenizer"), name="shapes")
    _tell(f"2/4  train a prior, which models the codes of each class ({folder}/prior)")
    file = read_model(tokenizer.path)
    config = prior_config(file, "shapes-prior", {})
    prior = train(config, out=str(folder / "prior"), name="shapes-prior", tokenizer=file)
    _tell("3/4  measure both on test images")
    evaluate(open_run(tokenizer.path), "shapes")
    _tell(results_table(evaluate(open_run(prior.path), "shapes")))
    _tell("4/4  write the report")
    _tell(f"open {write_report(prior.path, also=tokenizer.path)}")


def _tell(text: str) -> None:
    say(text, to=sys.stdout)
