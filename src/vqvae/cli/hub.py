"""The command that publishes: ``push``."""

import argparse
from collections.abc import Callable
from pathlib import Path

from vqvae.cli.options import add_model
from vqvae.cli.parser import CommandParser, path
from vqvae.errors import UserError


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the command."""
    more = (
        "A prior is uploaded with its tokenizer. The model card has the figures of vqvae evaluate, so measure "
        "first. vqvae.load_tokenizer and every command take hf:OWNER/NAME afterwards."
    )
    push = command("push", _push, "upload a model to the Hugging Face Hub, with a model card", more=more)
    add_model(push, "run", "the model")
    text = "the repository; a repository that does not exist is made"
    push.add_argument("repo", metavar="OWNER/NAME", nargs="?", help=text)
    push.add_argument("--private", action="store_true", help="make a new repository private")
    text = "the licence of the weights, an SPDX identifier such as mit or cc-by-4.0 (default: none is named)"
    push.add_argument("--license", metavar="ID", default="", help=text)
    text = (
        "upload a smaller copy: the decoder in float16, and the prior if it then draws the same codes in 64 "
        "samples; encoder and codes stay as they are"
    )
    push.add_argument("--half", action="store_true", help=text)
    text = "write the files into this folder and upload nothing; every command takes the folder as a run"
    push.add_argument("--out", metavar="DIR", type=path, help=text)


def _push(arguments: argparse.Namespace) -> None:
    from vqvae.commands.publish import publish, push

    options = {"license": arguments.license, "half": arguments.half}
    if arguments.out is not None:
        out = Path(arguments.out)
        name = f"hf:{arguments.repo}" if arguments.repo else out.name
        print(publish(arguments.run, out, name=name, picture=arguments.repo is not None, **options))
        return
    if arguments.repo is None:
        raise UserError("where to? give OWNER/NAME, or --out DIR to write the files only")
    done = push(arguments.run, arguments.repo, private=arguments.private, **options)
    print(f"done: hf:{done.repo}@{done.commit}; next: vqvae info hf:{done.repo}")
