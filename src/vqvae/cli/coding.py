"""The commands of compressed files: ``compress`` and ``decompress``."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vqvae.cli.options import SPECS, add_json, add_split
from vqvae.cli.parser import CommandParser, integer, path, spec
from vqvae.cli.printing import check_out
from vqvae.progress import bar

if TYPE_CHECKING:
    from vqvae.commands.compress import Compressed

_CPU = "The models run on the CPU."


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    text = "compress images into one file: their codes and, on request, every pixel"
    more = f"The file is decoded again before it is written. {_CPU}"
    compress = command("compress", _compress, text, more=more)
    text = f"image files; or one data set, whose --split is compressed: {SPECS}"
    compress.add_argument("images", metavar="IMAGES", nargs="+", type=spec, help=text)
    text = "the file to write; a file that exists is never overwritten"
    compress.add_argument("-o", "--out", metavar="FILE", type=path, required=True, help=text)
    text = (
        "the models: the run of a prior, which holds its tokenizer; or the run of a tokenizer, whose codes then "
        "all take log2 K bits"
    )
    compress.add_argument("--model", metavar="RUN", type=spec, required=True, help=text)
    text = "keep every pixel (default: keep the codes alone, from which similar images are decoded)"
    compress.add_argument("--lossless", action="store_true", help=text)
    text = (
        "compute the probabilities with whole numbers, so that every machine with the models decodes the file; "
        "slower (default: floating point, which this machine decodes)"
    )
    compress.add_argument("--exact", action="store_true", help=text)
    text = (
        "with --lossless: choose each code among the N nearest ones by the bits of codes and pixels together; "
        "slow (default: the encoder's codes)"
    )
    compress.add_argument("--search", metavar="N", type=integer, help=text)
    text = "put the models into the file, so that it can be decompressed without them"
    compress.add_argument("--embed-model", action="store_true", help=text)
    add_split(compress, "test", "all")
    add_json(compress)

    text = "write the images of a compressed file as PNG files"
    more = f"Nothing is written for a damaged file. {_CPU}"
    decompress = command("decompress", _decompress, text, more=more)
    decompress.add_argument("file", metavar="FILE", type=path, help="the file that vqvae compress wrote")
    text = "the folder of images; no file that exists is overwritten"
    decompress.add_argument("--out", metavar="DIR", type=path, required=True, help=text)
    text = "write one image alone, by its number in the file, from 0"
    decompress.add_argument("--only", metavar="N", type=integer, help=text)
    text = (
        "decode the first D codes of each position alone, and no pixels; for tokenizers with a residual quantizer "
        "(default: all that the file holds)"
    )
    decompress.add_argument("--depth", metavar="D", type=integer, help=text)
    text = (
        "the run that compressed the images (default: the models in the file, in the cache of this machine, or in "
        "this package)"
    )
    decompress.add_argument("--model", metavar="RUN", type=spec, help=text)


def _compress(arguments: argparse.Namespace) -> None:
    from vqvae.commands.compress import compress

    with bar("compress", "image") as progress:
        done = compress(
            arguments.images,
            arguments.model,
            check_out(arguments.out),
            lossless=arguments.lossless,
            exact=arguments.exact,
            embed_model=arguments.embed_model,
            search=arguments.search,
            split=arguments.split,
            progress=progress,
        )
    print(_as_json(done) if arguments.json else _as_words(done))


def _as_json(done: "Compressed") -> str:
    import json

    return json.dumps({**asdict(done), "bits_per_dim": done.bits_per_dim})


def _as_words(done: "Compressed") -> str:
    kind = "every pixel" if done.lossless else "codes alone"
    models = f", {done.model_bytes:,} of them models" if done.model_bytes else ""
    machines = " on this machine"
    if done.exact:
        machines = f"; every machine{'' if done.model_bytes else ' with these models'} decodes it"
    if done.saved is not None:
        machines += f"; the search saved {done.saved / done.dimensions:.4f} bits per dimension"
    where = "" if done.kept else "; keep the run: vqvae decompress needs it as --model"
    return (
        f"done: {done.path}: {done.images:,} images, {kind}, {done.size:,} bytes{models}, {done.bits_per_dim:.4f} "
        f"bits per dimension; verified by decoding{machines}{where}; "
        f"next: vqvae decompress {done.path} --out DIR"
    )


def _decompress(arguments: argparse.Namespace) -> None:
    from vqvae.commands.decompress import decompress

    with bar("decompress", "image") as progress:
        done = decompress(
            Path(arguments.file),
            Path(arguments.out),
            only=arguments.only,
            depth=arguments.depth,
            model=arguments.model,
            progress=progress,
        )
    codes = "codes" if done.depth is None else f"the first {done.depth} codes of each position"
    kind = "as they were, pixel for pixel" if done.lossless else f"decoded from {codes}"
    print(f"done: {done.out}: {done.images:,} images, {kind}")
