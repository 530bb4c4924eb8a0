"""From what a user names to the images of one side of a comparison: files, a data set, a store, or a run."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vqvae.commands.resolve import PriorRun, TokenizerRun, open_run, open_tokenizer_run, without_ending
from vqvae.commands.sample import sample_pixels
from vqvae.config import DataConfig, read_otherwise
from vqvae.data import ImageSet, load_all
from vqvae.errors import UserError
from vqvae.model_place import is_model_name, shipped_models
from vqvae.paths import is_data_name
from vqvae.progress import Progress, silent
from vqvae.run_directory import RunDirectory
from vqvae.screen import say
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.tokens import Store
from vqvae.training.store_data import is_store

Pairing = Literal["name", "number", "none"]
_BATCH = 64  # the same for all rows: at another batch size the last bit of a pixel may differ


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison.

    Attributes:
        pixels: uint8 [N, C, H, W].
        names: one for each image; empty for samples, which pair with nothing.
        facts: what the protocol says.
        run: the run that made the images; None for images that were read.
    """

    pixels: Tensor
    names: tuple[str, ...]
    facts: Mapping[str, Any]
    run: TokenizerRun | None = None

    @property
    def is_read(self) -> bool:
        """Whether images were read, so that keys such as ``data.size`` change them; else a model made them."""
        return "data" in self.facts

    def rows(self, rows: list[int]) -> "Side":
        """Return the side with some rows, in this order."""
        names = tuple(self.names[row] for row in rows) if self.names else ()
        return replace(self, pixels=self.pixels[rows], names=names)

    def followed_by(self, other: "Side") -> "Side":
        """Return the side with the rows of another after its own."""
        return replace(self, pixels=torch.cat([self.pixels, other.pixels]), names=self.names + other.names)


@dataclass(frozen=True, kw_only=True)
class SideOptions:
    """How the sides are read.

    Attributes:
        splits: the splits of A and of B, where they are data sets with splits of their own.
        tokenizer: the run or model file that decodes a store of codes, or the samples of a prior; None decodes
            samples by the tokenizer in the prior's run.
        num: number of images that a prior draws; None: as many as the other side has.
        seed: of the drawing.
        device: where models run.
        reading: keys about reading images, such as ``data.size``.
    """

    splits: tuple[str, str] = ("test", "test")
    tokenizer: str | None = None
    num: int | None = None
    seed: int = 0
    device: str = "auto"
    reading: Mapping[str, Any] | None = None


def open_sides(a: str, b: str, options: SideOptions, *, progress: Progress = silent) -> tuple[Side, Side]:
    """Read or make both sides.

    Args:
        a: a data set, a store of codes, or a run.
        b: the same. A tokenizer's run stands for its reconstructions of the other side, a prior's for samples.
        options: how.
        progress: called with the number of codes drawn and of all codes.

    Raises:
        UserError: for what is no set of images, and two runs.
    """
    runs = [
        open_run(spec, tokenizer=options.tokenizer, device=options.device) if _is_run(spec) else None
        for spec in (a, b)
    ]
    if runs[0] is not None and runs[1] is not None:
        raise UserError(f"{a} and {b} are two runs: compare each with images")
    if (run := runs[0]) is not None:
        images = _read(b, options.splits[1], run, options)
        return _made(run, images, options, progress), images
    if (run := runs[1]) is not None:
        images = _read(a, options.splits[0], run, options)
        return images, _made(run, images, options, progress)
    if is_store(b):  # a store's channels are fixed, and images are read with the same
        store = _read(b, options.splits[1], None, options)
        return _read(a, options.splits[0], None, options, beside=store), store
    images = _read(a, options.splits[0], None, options)
    return images, _read(b, options.splits[1], None, options, beside=images)


def _is_run(spec: str) -> bool:
    if is_data_name(spec):
        if spec in shipped_models():
            say(f"{spec}: the data set is taken; shipped:{spec} is the model in this package")
        return False
    path = Path(spec).expanduser()
    return is_model_name(spec) or RunDirectory(path).exists or (path.is_file() and path.suffix == ".safetensors")


def _read(
    spec: str, split: str, run: TokenizerRun | None, options: SideOptions, *, beside: Side | None = None
) -> Side:
    if is_store(spec):
        return _decoded(spec, options)
    grey = beside is not None and beside.pixels.shape[1] == 1
    own = DataConfig(channels=1 if grey else 3) if run is None else run.reading
    how = read_otherwise(own, options.reading or {})
    images = load_all(spec, split, **how.options(1 if run is None else run.tokenizer.model.factor))
    return Side(images.pixels, images.names, _facts(images, how.fit))


def _facts(images: ImageSet, fit: str) -> dict[str, Any]:
    return {
        "data": images.spec,
        "split": images.split,
        "count": len(images),
        "skipped": len(images.bad),
        "size": list(images.shape),
        "crop": fit,
        "origin": images.origin,
    }


def _decoded(path: str, options: SideOptions) -> Side:
    """Decode a store of codes."""
    if options.tokenizer is None:
        raise UserError(f"{path}: a store of codes: pass --tokenizer RUN to decode it")
    store, run = Store.open(Path(path).expanduser()), open_tokenizer_run(options.tokenizer, device=options.device)
    if run.tokenizer.card.identity != store.header.tokenizer:
        raise UserError(
            f"{run.path}: not the tokenizer whose codes {path} holds, {store.header.tokenizer[:16]}..."
        )
    pixels, names = list[Tensor](), list[str]()
    for shard in store.shards():
        for codes in shard.codes.split(_BATCH):
            pixels.append(pixels_from_images(run.tokenizer.model.decode(codes.to(run.device))).cpu())
        names += shard.names or [f"{row:08d}" for row in shard.rows.tolist()]
    found = torch.cat(pixels)
    facts = {"store": path, "tokenizer": run.tokenizer.hash, "count": len(found), "size": list(found.shape[1:])}
    return Side(found, tuple(names), facts, run)


def _made(run: TokenizerRun, other: Side, options: SideOptions, progress: Progress) -> Side:
    """Return what a run makes: samples of a prior, a tokenizer's reconstructions of the other side."""
    facts: dict[str, Any] = {"run": str(run.path), "tokenizer": run.tokenizer.hash}
    if isinstance(run, PriorRun):
        num = len(other.pixels) if options.num is None else options.num
        pixels = sample_pixels(run, num=num, seed=options.seed, progress=progress)
        facts |= {"images": "samples", "prior": run.prior.hash, "seed": options.seed, **vars(run.controls)}
    else:
        model, parts = run.tokenizer.model, list[Tensor]()
        for part in other.pixels.split(_BATCH):
            codes = model.encode(images_from_pixels(part.to(run.device)), exact=True)
            parts.append(pixels_from_images(model.decode(codes)).cpu())
        pixels = torch.cat(parts)
        facts |= {"images": "reconstructions"}
    names = () if isinstance(run, PriorRun) else other.names
    return Side(pixels, names, {**facts, "count": len(pixels), "size": list(pixels.shape[1:])}, run)


def pairs_of(a: Side, b: Side, how: Pairing) -> list[tuple[int, int]]:
    """Return which rows of A and B belong together, in A's order; empty where none do.

    Args:
        a: one side.
        b: the other.
        how: ``name``: names are equal but for their endings (cat/1.png and cat/1.webp). ``number``: the last
            numbers in the names are equal (test.parquet row 17 and 00000017.png). ``none``: nothing pairs.

    Raises:
        UserError: for two images of a side with one number.
    """
    if how == "none" or not a.names or not b.names:
        return []
    keys = _without_endings(a, b) if how == "name" else [_numbers(side) for side in (a, b)]
    where = {key: row for row, key in enumerate(keys[1])}
    return [(row, where[key]) for row, key in enumerate(keys[0]) if key in where]


def _without_endings(a: Side, b: Side) -> list[list[str]]:
    """Return the names of both sides without endings, or with them if two names of a side differ in them alone."""
    stems = [[without_ending(name) for name in side.names] for side in (a, b)]
    same = next((stem for side in stems for stem, times in Counter(side).items() if times > 1), None)
    if same is None:
        return stems
    say(f"several images of one side are called {same}: names form pairs with their endings")
    return [list(side.names) for side in (a, b)]


def _numbers(side: Side) -> list[str]:
    found = [re.findall(r"\d+", name) for name in side.names]
    numbers = [str(int(digits[-1])) if digits else name for digits, name in zip(found, side.names, strict=True)]
    number, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        raise UserError(f"--pair number: {times} images of one side have the number {number}")
    return numbers
