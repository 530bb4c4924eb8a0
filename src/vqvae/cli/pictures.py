"""The commands that draw: ``sample``, ``inpaint``, ``reconstruct``."""

import argparse
from collections.abc import Callable

from vqvae.cli.options import (
    SPECS,
    add_controls,
    add_device,
    add_label,
    add_model,
    add_picture,
    add_tile,
    add_tokenizer,
)
from vqvae.cli.parser import CommandParser, integer, path, spec
from vqvae.cli.printing import check_out, written
from vqvae.cli.tokens import sample_into_store
from vqvae.errors import UserError
from vqvae.progress import bar


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    _describe_sample(command("sample", _sample, "draw new images from a prior"))
    text = "replace a part of an image, or its fine details, by samples from a prior"
    _describe_inpaint(command("inpaint", _inpaint, text, keys="data"))
    _describe_reconstruct(
        command("reconstruct", _reconstruct, "show images above their reconstructions", keys="data")
    )


def _describe_sample(sample: CommandParser) -> None:
    add_model(sample, "prior", "the prior")
    sample.add_argument("--num", metavar="N", type=integer, default=64, help="number of images (default: 64)")
    add_label(sample, "draw images of this class, by its name or number (default: all classes in turn)")
    text = (
        "draw this many samples per image and keep the one that the prior assigns to its class with the highest "
        "likelihood ratio (default: 1)"
    )
    sample.add_argument("--candidates", metavar="M", type=integer, default=1, help=text)
    text = (
        "height and width of the images in pixels; images larger than those of the prior's training are drawn in "
        "windows (default: the size of the training images)"
    )
    sample.add_argument("--size", metavar="HEIGHTxWIDTH", help=text)
    add_controls(sample, own=True)
    where = sample.add_mutually_exclusive_group(required=True)
    text = "the PNG file to write, with all images in a grid; a file that exists is never overwritten"
    where.add_argument("--out", metavar="PNG", type=path, help=text)
    text = (
        "write a store of codes, for any number of images, instead of a PNG file; vqvae decode decodes the store"
    )
    where.add_argument("--store", metavar="DIR", type=path, help=text)
    add_tokenizer(sample)
    add_device(sample)


def _describe_inpaint(inpaint: CommandParser) -> None:
    add_model(inpaint, "prior", "the prior")
    inpaint.add_argument("image", metavar="IMAGE", type=path, help="the image file")
    hole = inpaint.add_mutually_exclusive_group()
    text = "the part to replace: an image of the same size, white where new content is drawn"
    hole.add_argument("--mask", metavar="PNG", type=path, help=text)
    hole.add_argument("--box", metavar="TOP,LEFT,HEIGHT,WIDTH", help="the part to replace: a rectangle, in pixels")
    text = (
        "keep the first D codes of each position and replace the others, for tokenizers with several codes per "
        "position; without --mask and --box, at every position of the image (default: 0)"
    )
    inpaint.add_argument("--depth", metavar="D", type=integer, default=0, help=text)
    text = "number of samples to show (default: 6)"
    inpaint.add_argument("--num", metavar="N", type=integer, default=6, help=text)
    text = (
        "draw this many candidates for each sample shown, and choose among them by the likelihood of the codes "
        "that come after the part (default: 8)"
    )
    inpaint.add_argument("--candidates", metavar="M", type=integer, default=8, help=text)
    add_label(inpaint, "the image's class, by name or number (default: none)")
    add_controls(inpaint)
    add_picture(inpaint, "the image, the part that is kept, and the samples")
    add_tokenizer(inpaint)
    add_device(inpaint)


def _describe_reconstruct(reconstruct: CommandParser) -> None:
    add_model(reconstruct, "tokenizer", "the tokenizer")
    text = f"image files; or a data set, whose first 32 test images are shown: {SPECS}"
    reconstruct.add_argument("images", metavar="IMAGES", nargs="+", type=spec, help=text)
    add_picture(reconstruct, "each image above its reconstruction")
    text = (
        "decode the first D codes of each position alone; for tokenizers with a residual quantizer (default: all)"
    )
    reconstruct.add_argument("--depth", metavar="D", type=integer, help=text)
    add_tile(reconstruct)
    add_device(reconstruct)


def _sample(arguments: argparse.Namespace) -> None:
    if arguments.store is not None:
        if arguments.tokenizer is not None:
            raise UserError("--tokenizer: a store holds codes, not images; give the tokenizer to vqvae decode")
        if arguments.size is not None:
            raise UserError("--size: pass --out; a store holds codes of one size, that of the prior")
        sample_into_store(arguments, _controls(arguments))
        return
    from vqvae.commands.controls import chosen_controls
    from vqvae.commands.resolve import open_prior_run
    from vqvae.commands.sample import sample_picture

    check_out(arguments.out)
    run = open_prior_run(arguments.prior, tokenizer=arguments.tokenizer, device=arguments.device)
    controls = chosen_controls(run.controls, **_controls(arguments))
    with bar("sample", "code") as progress:
        picture = sample_picture(
            run,
            num=arguments.num,
            label=arguments.label,
            candidates=arguments.candidates,
            size=_size(arguments.size),
            seed=arguments.seed,
            controls=controls,
            progress=progress,
        )
    print(written(picture, arguments.out))


def _size(text: str | None) -> tuple[int, int] | None:
    """Read HEIGHTxWIDTH."""
    if text is None:
        return None
    try:
        height, width = (int(number) for number in text.split("x"))
    except ValueError:
        raise UserError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 32x96") from None
    return height, width


def _inpaint(arguments: argparse.Namespace) -> None:
    from vqvae.commands.controls import chosen_controls
    from vqvae.commands.inpaint import inpaint_picture
    from vqvae.commands.resolve import open_prior_run
    from vqvae.sampling import PLAIN

    if not arguments.mask and not arguments.box and not arguments.depth:
        raise UserError("nothing to replace: pass --box TOP,LEFT,HEIGHT,WIDTH, --mask PNG, or --depth D")
    box = _box(arguments.box)
    check_out(arguments.out)
    run = open_prior_run(
        arguments.prior, tokenizer=arguments.tokenizer, device=arguments.device, reading=arguments.overrides
    )
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
            seed=arguments.seed,
            controls=chosen_controls(PLAIN, **_controls(arguments)),
            progress=progress,
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


def _controls(arguments: argparse.Namespace) -> dict[str, float | None]:
    """Return the controls of sampling by name; None for those that are not given."""
    return {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "guidance")}


def _reconstruct(arguments: argparse.Namespace) -> None:
    from vqvae.commands.reconstruct import reconstruction_picture
    from vqvae.commands.resolve import open_tokenizer_run

    check_out(arguments.out)
    run = open_tokenizer_run(arguments.tokenizer, device=arguments.device, reading=arguments.overrides)
    picture = reconstruction_picture(run, arguments.images, tile=arguments.tile, depth=arguments.depth)
    print(written(picture, arguments.out))
