"""The commands that draw: ``sample``, ``inpaint``, ``reconstruct``."""

import argparse
from collections.abc import Callable
from typing import Any

from vqvae.cli.printing import written
from vqvae.cli.progress import bar
from vqvae.cli.tokens import sample_into_store
from vqvae.errors import UserError

_OUT = "the picture; must not exist"


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands."""
    _describe_sample(command("sample", _sample, "draw new images from a prior"))
    _describe_inpaint(command("inpaint", _inpaint, "draw a part of an image, or its details, anew"))
    _describe_reconstruct(command("reconstruct", _reconstruct, "show images above their reconstructions"))


def _describe_sample(sample: argparse.ArgumentParser) -> None:
    sample.add_argument("prior", metavar="PRIOR", help="the prior's run directory")
    sample.add_argument("--num", type=int, default=64, help="images (default: 64)")
    sample.add_argument("--label", help="a class, by name or number (default: all classes in turn)")
    _describe_controls(sample)
    sample.add_argument(
        "--candidates", type=int, default=1, help="of which each image is the one that tells its class best"
    )
    where = sample.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", metavar="DIR", help="a store of codes instead of a picture, for any --num")
    where.add_argument("--out", metavar="PNG", help=_OUT)
    sample.add_argument("--device", default="auto")


def _describe_inpaint(inpaint: argparse.ArgumentParser) -> None:
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
    _describe_controls(inpaint)
    inpaint.add_argument("--out", metavar="PNG", required=True, help=_OUT)
    inpaint.add_argument("--device", default="auto")


def _describe_reconstruct(reconstruct: argparse.ArgumentParser) -> None:
    reconstruct.add_argument("tokenizer", metavar="TOKENIZER", help="a run directory")
    reconstruct.add_argument("images", metavar="IMAGES", nargs="+", help="image files, or one data SPEC")
    reconstruct.add_argument("--out", metavar="PNG", required=True, help=_OUT)
    reconstruct.add_argument("--device", default="auto")


def _describe_controls(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--temperature", type=float, default=1.0)
    sub.add_argument("--top-k", type=int)
    sub.add_argument("--top-p", type=float)
    sub.add_argument("--guidance", type=float, default=1.0, help="above 1 asks for more of the class")


def _sample(arguments: argparse.Namespace) -> None:
    if arguments.store is not None:
        sample_into_store(arguments, {**_controls(arguments), "candidates": arguments.candidates})
        return
    from vqvae.commands.resolve import open_prior_run
    from vqvae.commands.sample import sample_picture

    run = open_prior_run(arguments.prior, device=arguments.device)
    with bar("sample", "code") as progress:
        picture = sample_picture(
            run,
            num=arguments.num,
            label=arguments.label,
            candidates=arguments.candidates,
            progress=progress,
            **_controls(arguments),
        )
    print(written(picture, arguments.out))


def _inpaint(arguments: argparse.Namespace) -> None:
    from vqvae.commands.inpaint import inpaint_picture
    from vqvae.commands.resolve import open_prior_run

    if not arguments.mask and not arguments.box and not arguments.depth:
        raise UserError("say what is drawn anew: --box TOP,LEFT,HEIGHT,WIDTH, --mask PNG, or --depth D")
    box = _box(arguments.box)
    run = open_prior_run(arguments.prior, device=arguments.device)
    with bar("inpaint", "code") as progress:
        picture = inpaint_picture(
            run,
            arguments.image,
            mask=arguments.mask,
            box=box,
            depth=arguments.depth,
            num=arguments.num,
            candidates=arguments.candidates,
            label=arguments.label,
            progress=progress,
            **_controls(arguments),
        )
    print(written(picture, arguments.out))


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    """Read TOP,LEFT,HEIGHT,WIDTH."""
    if text is None:
        return None
    try:
        top, left, height, width = (int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"--box {text}: expected TOP,LEFT,HEIGHT,WIDTH in pixels, such as 8,8,16,16") from None
    return top, left, height, width


def _controls(arguments: argparse.Namespace) -> dict[str, Any]:
    from vqvae.sampling import Controls

    controls = Controls(arguments.temperature, arguments.top_k, arguments.top_p, arguments.guidance)
    return {"seed": arguments.seed, "controls": controls}


def _reconstruct(arguments: argparse.Namespace) -> None:
    from vqvae.commands.reconstruct import reconstruction_picture
    from vqvae.commands.resolve import open_tokenizer_run

    run = open_tokenizer_run(arguments.tokenizer, device=arguments.device)
    picture = reconstruction_picture(run, arguments.images)
    print(written(picture, arguments.out))
