"""The commands that take a model elsewhere: ``export``, ``page``."""

import argparse
from collections.abc import Callable

from vqvae.cli.options import add_data, add_run, add_split
from vqvae.cli.parser import CommandParser, choice, integer, path
from vqvae.progress import bar


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "write a model as ONNX files or exported programs, with a certificate"
    more = (
        "The folder gets encoder (images to codes), decoder (codes to images) and, for a prior's run, the prior "
        "and its step. The certificate says how many codes differ from the exact codes, and that all of them are "
        "near-ties. docs/export.md shows how to run the files."
    )
    export = command("export", _export, text, keys="data", more=more)
    add_run(export, "run", "a run directory or a model file")
    text = "onnx, for ONNX Runtime; or torch, for torch.export.load (default: onnx)"
    export.add_argument("--format", metavar="NAME", type=choice("onnx", "torch"), default="onnx", help=text)
    text = "the folder to make; a folder with files is never overwritten"
    export.add_argument("--out", metavar="DIR", type=path, required=True, help=text)
    add_data(export, "images for the certificate (default: the data set of the run)")
    add_split(export, "validation")
    text = "number of images for the certificate, at most (default: 1000)"
    export.add_argument("--num", metavar="N", type=integer, default=1000, help=text)


def _export(arguments: argparse.Namespace) -> None:
    from vqvae.commands.export import CERTIFICATE, export_run
    from vqvae.commands.resolve import open_run

    run = open_run(arguments.run, device="cpu", reading=arguments.overrides)
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
        f"done: {arguments.out}: {', '.join(certificate['files'])}; {facts['codes']:,} codes of "
        f"{facts['images']:,} images, {len(facts['differing_codes'])} differ, all near-ties; "
        f"see {arguments.out}/{CERTIFICATE}"
    )
