"""The commands of code stores: ``encode``, ``decode``, and ``sample --store``."""

import argparse
import sys
from collections.abc import Callable

from vqvae.cli.options import add_data, add_device, add_model, add_split, add_tile
from vqvae.cli.parser import CommandParser, choice, integer, path
from vqvae.progress import bar

_SHOWN = 10  # most images that could not be decoded and are named on the screen; the store names all of them


def add_commands(command: Callable[..., CommandParser]) -> None:
    """Add the commands."""
    again = "To continue after a stop, run the same command again. Several processes may share the work."
    encode = command(
        "encode", _encode, "encode a data set of any size into a store of codes", keys="whole data", more=again
    )
    add_model(encode, "tokenizer", "the tokenizer")
    add_data(encode, "the images", required=True)
    add_split(encode, "auto", "all", "auto")
    encode.add_argument("--out", metavar="DIR", type=path, required=True, help="the store to make or to continue")
    text = "number of images per shard; a process that is killed loses at most one shard (default: 8192)"
    encode.add_argument("--shard-rows", metavar="N", type=integer, default=8192, help=text)
    text = (
        "format of the shards: safetensors, or parquet, which datasets, pandas and other programs read (default: "
        "safetensors)"
    )
    formats = choice("safetensors", "parquet")
    encode.add_argument("--format", metavar="NAME", type=formats, default="safetensors", help=text)
    add_tile(encode)
    add_device(encode)

    decode = command("decode", _decode, "decode codes into PNG files", more=again)
    text = (
        "the codes: a store, one shard, or codes of another program, whole numbers [N, h, w] or [N, h, w, n] in a "
        ".npy or .npz file or in the column codes of a parquet file"
    )
    decode.add_argument("store", metavar="STORE", type=path, help=text)
    add_model(decode, "tokenizer", "the tokenizer that made the codes")
    text = "the folder of images to make or to continue"
    decode.add_argument("--out", metavar="DIR", type=path, required=True, help=text)
    add_tile(decode)
    add_device(decode)


def _encode(arguments: argparse.Namespace) -> None:
    from vqvae.commands.encode import encode_to_store
    from vqvae.commands.resolve import open_tokenizer_run

    run = open_tokenizer_run(arguments.tokenizer, device=arguments.device, reading=arguments.overrides)
    with bar("encode", "image") as progress:
        done = encode_to_store(
            run,
            arguments.data,
            arguments.out,
            split=arguments.split,
            shard_rows=arguments.shard_rows,
            tile=arguments.tile,
            format=arguments.format,
            progress=progress,
        )
    for name, reason in done.bad[:_SHOWN]:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if len(done.bad) > _SHOWN:
        print(f"skipped {len(done.bad) - _SHOWN} more: {arguments.out}/bad.json", file=sys.stderr)
    header = done.store.header
    print(
        f"done: {arguments.out}: {header.rows - len(done.bad):,} images in {header.num_shards} shards, "
        f"{done.made} made now with {done.near_ties:,} near-ties decided in float64; "
        f"next: vqvae decode {arguments.out} {arguments.tokenizer} --out DIR"
    )


def _decode(arguments: argparse.Namespace) -> None:
    from vqvae.commands.decode import decode_store
    from vqvae.commands.resolve import open_tokenizer_run

    run = open_tokenizer_run(arguments.tokenizer, device=arguments.device)
    with bar("decode", "image") as progress:
        count = decode_store(arguments.store, run, arguments.out, tile=arguments.tile, progress=progress)
    print(f"done: {arguments.out}: {count:,} images")


def sample_into_store(arguments: argparse.Namespace, given: dict[str, float | None]) -> None:
    """Run ``vqvae sample PRIOR --store DIR``."""
    from vqvae.commands.controls import chosen_controls, own_controls
    from vqvae.commands.sample_to_store import sample_to_store
    from vqvae.model_io import choose_device, open_prior
    from vqvae.model_place import model_place
    from vqvae.run_directory import RunDirectory

    place = model_place(arguments.prior)
    prior = open_prior(place, device=choose_device(arguments.device))
    controls = chosen_controls(own_controls(place, prior), **given)
    with bar("sample", "image") as progress:
        store = sample_to_store(
            prior,
            arguments.store,
            num=arguments.num,
            label=arguments.label,
            seed=arguments.seed,
            controls=controls,
            candidates=arguments.candidates,
            progress=progress,
        )
    header = store.header
    tokenizer = arguments.prior if RunDirectory(place).tokenizer.is_file() else "TOKENIZER"
    print(
        f"done: {arguments.store}: {header.rows:,} images in {header.num_shards} shards; "
        f"next: vqvae decode {arguments.store} {tokenizer} --out DIR"
    )
