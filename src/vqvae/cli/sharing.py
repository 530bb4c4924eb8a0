"""The commands that take a model elsewhere: ``export``, ``page``."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from vqvae.cli.options import add_data, add_model, add_split
from vqvae.cli.parser import CommandParser, choice, integer, path
from vqvae.cli.printing import check_out
from vqvae.errors import UserError
from vqvae.progress import bar

if TYPE_CHECKING:
    from vqvae.commands.resolve import TokenizerRun


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "write a model as ONNX files or exported programs, with a certificate"
    more = (
        "The folder gets encoder (images to codes), decoder (codes to images) and, for a prior's run, the prior "
        "and its step. The certificate says how many codes differ from the exact codes, and that all of them are "
        "near-ties. docs/export.md shows how to run the files. --format integer writes the whole numbers of "
        "vqvae compress in exact form, and a certificate of what they cost in bits."
    )
    export = command("export", _export, text, keys="data", more=more)
    add_model(export, "run", "the tokenizer, or the prior with its tokenizer")
    text = (
        "onnx, for ONNX Runtime; torch, for torch.export.load; or integer, the integer form of the models "
        "(default: onnx)"
    )
    kinds = choice("onnx", "torch", "integer")
    export.add_argument("--format", metavar="NAME", type=kinds, default="onnx", help=text)
    text = "the folder to make; a folder with files is never overwritten"
    export.add_argument("--out", metavar="DIR", type=path, required=True, help=text)
    add_data(export, "images for the certificate (default: the data set of the run)")
    add_split(export, "validation")
    text = "number of images for the certificate, at most (default: 1000)"
    export.add_argument("--num", metavar="N", type=integer, default=1000, help=text)

    text = "write a page on which the models of a run encode, draw and inpaint in the browser"
    more = (
        "The page is one HTML file; it opens without a server and without a network. A prior's run gives every "
        "part of it, a tokenizer's run the parts about images and codes. docs/page.md describes it."
    )
    page = command("page", _page, text, keys="data", more=more)
    add_model(page, "run", "the tokenizer, or the prior with its tokenizer")
    text = (
        "the HTML file to write; a file that exists is never overwritten (default: page.html in the run, which is "
        "written anew)"
    )
    page.add_argument("--out", metavar="HTML", type=path, help=text)
    add_data(page, "images to begin with, and for the use of codes (default: the data set of the run)")
    add_split(page, "validation")
    text = "serve the page on this machine alone, until Ctrl-C; a file is written only if --out is given"
    page.add_argument("--serve", action="store_true", help=text)
    text = "the port of --serve (default: 0, a free one)"
    page.add_argument("--port", metavar="N", type=integer, help=text)


def _export(arguments: argparse.Namespace) -> None:
    from vqvae.commands.export import CERTIFICATE, export_run
    from vqvae.commands.export_integer import export_integer, in_words
    from vqvae.commands.resolve import open_run

    run = open_run(arguments.run, device="cpu", reading=arguments.overrides)
    if arguments.format == "integer":
        how = {"data": arguments.data, "split": arguments.split, "num": arguments.num}
        with bar("certify", "image") as progress:
            certificate = export_integer(run, arguments.out, **how, progress=progress)
        print(f"done: {arguments.out}: {in_words(certificate)}; see {arguments.out}/{CERTIFICATE}")
        return
    with bar("certify", "image") as progress:
        certificate = export_run(
            run,
            arguments.out,
            format=arguments.format,
            data=arguments.data,
            split=arguments.split,
            num=arguments.num,
            progress=progress,
        )
    facts = certificate["tokenizer"]
    print(
        f"done: {arguments.out}: {', '.join(certificate['files'])}; "
        f"{len(facts['differing_codes'])} of {facts['codes']:,} codes of {facts['images']:,} images differ, at "
        "near-ties alone; "
        f"see {arguments.out}/{CERTIFICATE}"
    )


def _page(arguments: argparse.Namespace) -> None:
    from vqvae.commands.resolve import open_run

    if arguments.port is not None and not arguments.serve:
        raise UserError("--port is the port of --serve")
    run = open_run(arguments.run, device="cpu", reading=arguments.overrides)
    if arguments.serve:
        _serve_page(run, arguments)
    else:
        _write_page(run, arguments)


def _write_page(run: "TokenizerRun", arguments: argparse.Namespace) -> None:
    import sys

    from vqvae.commands.page import page_of_run
    from vqvae.run_directory import RunDirectory

    own = RunDirectory(run.path)
    if arguments.out is None and not own.exists:
        raise UserError("--out HTML is needed for a model without a run directory; --serve needs no file")
    out = own.page if arguments.out is None else check_out(arguments.out)
    for line in page_of_run(run, out, data=arguments.data, split=arguments.split):
        print(line, file=sys.stderr)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")


def _serve_page(run: "TokenizerRun", arguments: argparse.Namespace) -> None:
    import signal
    import sys

    from vqvae.commands.page import build_page_of_run
    from vqvae.files import write_atomically
    from vqvae.interruption import Interrupted
    from vqvae.page import PageServer

    out = None if arguments.out is None else check_out(arguments.out)
    page = build_page_of_run(run, data=arguments.data, split=arguments.split)
    for line in page.left_out:
        print(line, file=sys.stderr)
    content = page.html.encode(errors="backslashreplace")
    if out is not None:
        write_atomically(out, content)
    with PageServer(content, arguments.port or 0) as server:
        print(f"{server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve()
        except Interrupted as stop:  # Ctrl-C is how serving ends
            if stop.signum != signal.SIGINT:
                raise
