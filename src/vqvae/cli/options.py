"""The options that several commands share."""

import argparse

from vqvae.cli.parser import CommandParser, choice, integer, model, number, path, spec

SPECS = "shapes, shapes:50000, cifar10, hf:OWNER/NAME, or the path of a folder or file"
MODELS = "its run directory or model file, the name of a model in this package, or hf:OWNER/NAME[@REVISION]"


def add_model(sub: CommandParser, name: str, text: str) -> None:
    """Add the positional argument that names a model: a path, a shipped model, or a model of the Hub."""
    sub.add_argument(name, metavar=name.upper(), type=model, help=f"{text}: {MODELS}")


def add_run(sub: CommandParser) -> None:
    """Add the positional argument that names a run directory."""
    sub.add_argument("run", metavar="RUN", type=spec, help="the run directory")


def add_tokenizer(sub: CommandParser) -> None:
    """Add ``--tokenizer`` of a command that opens a prior for images."""
    text = (
        "the tokenizer of the prior's codes, a run directory or model file with the same encoder and quantizer, "
        "such as a run that trained the decoder alone (default: the tokenizer in the prior's run)"
    )
    sub.add_argument("--tokenizer", metavar="RUN", type=model, help=text)


def add_data(sub: CommandParser, text: str, *, required: bool = False) -> None:
    """Add ``--data``."""
    sub.add_argument("--data", metavar="SPEC", type=spec, required=required, help=f"{text}: {SPECS}")


def add_split(sub: CommandParser, default: str, *more: str) -> None:
    """Add ``--split``, which takes the names of splits and the words of ``more``."""
    words = ("train", "validation", "test", *more)
    meanings = {
        "all": "all takes every image of a data set without splits",
        "auto": "auto is all for such a data set, otherwise train",
    }
    text = "; ".join([f"which split of the data: {', '.join(words)}", *(meanings[word] for word in more)])
    text += f" (default: {default})"
    sub.add_argument("--split", metavar="NAME", type=choice(*words), default=default, help=text)


def add_device(sub: CommandParser) -> None:
    """Add ``--device``."""
    text = (
        "device to run on: auto, cpu, cuda, cuda:1 or mps; auto takes CUDA, else MPS, else the CPU (default: auto)"
    )
    sub.add_argument("--device", metavar="NAME", default="auto", help=text)


def add_plugin(sub: argparse.ArgumentParser) -> None:
    """Add ``--plugin``."""
    text = (
        "import a Python module that defines components: quantizers, priors, networks, likelihoods, losses or "
        "metrics. MODULE is the name of a module, searched for in the current folder first, or the path of a .py "
        "file. May be given several times"
    )
    sub.add_argument("--plugin", metavar="MODULE", action="append", default=[], help=text)


def add_json(sub: CommandParser) -> None:
    """Add ``--json``."""
    sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_features(sub: CommandParser, text: str, *, default: str | None) -> None:
    """Add ``--features``."""
    text = (
        f"{text}: judge; inception:PATH (for FID), squeezenet:PATH, alexnet:PATH or vgg16:PATH with a file of "
        "weights; or the path of a file that vqvae judge wrote"
    )
    sub.add_argument("--features", metavar="NETWORK", default=default, help=text)


def add_lpips(sub: CommandParser, text: str) -> None:
    """Add ``--lpips``."""
    text = (
        f"{text}, by alexnet:PATH or vgg16:PATH with torchvision's weights, and the file of the factors of "
        "channels that LPIPS has learned for this network (default: not measured)"
    )
    sub.add_argument("--lpips", metavar=("NETWORK", "FACTORS"), nargs=2, help=text)


def add_tile(sub: CommandParser) -> None:
    """Add ``--tile``."""
    text = (
        "run large images in tiles of this many pixels on a side, so that memory does not grow with the image; 0 "
        "for no tiles (default: 512 if the images have more than 2 megapixels)"
    )
    sub.add_argument("--tile", metavar="PIXELS", type=integer, help=text)


def add_label(sub: CommandParser, text: str) -> None:
    """Add ``--label``."""
    sub.add_argument("--label", metavar="CLASS", help=text)


def add_picture(sub: CommandParser, shows: str, *, required: bool = True) -> None:
    """Add ``--out`` of a command that writes one picture; ``shows`` says what the picture shows."""
    text = f"the PNG file to write, with {shows}; a file that exists is never overwritten"
    sub.add_argument("--out", metavar="PNG", type=path, required=required, help=text)


def add_controls(sub: CommandParser, *, own: bool = False) -> None:
    """Add the options that control sampling; ``own``: without them, the prior's own settings apply."""
    first = "the model's own if none of these four is given, else " if own else ""
    sub.add_argument(
        "--seed",
        metavar="N",
        type=integer,
        default=0,
        help="seed of the random numbers; the same seed gives the same images (default: 0)",
    )
    sub.add_argument(
        "--temperature",
        metavar="T",
        type=number,
        help="divide the prior's logits by T; below 1, likely codes are drawn more often; 0 always takes the most "
        f"likely code (default: {first}1)",
    )
    sub.add_argument(
        "--top-k",
        metavar="K",
        type=integer,
        help=f"draw only from the K most likely codes (default: {first}all codes)",
    )
    sub.add_argument(
        "--top-p",
        metavar="P",
        type=number,
        help="draw only from the smallest set of most likely codes whose probabilities sum to at least P "
        f"(default: {first}all codes)",
    )
    sub.add_argument(
        "--guidance",
        metavar="W",
        type=number,
        help="weight of classifier-free guidance; above 1, images show their class more clearly and vary less "
        f"(default: {first}1, no guidance)",
    )
