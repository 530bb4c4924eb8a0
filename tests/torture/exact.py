"""The integer form on other processors: equal tables, equal files, and round trips between them.

Each processor is a process with ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA and MKL_ENABLE_INSTRUCTIONS of its own. In
it, the batch size is 1, 7 or 64, the number of threads 1 or 2, and mkldnn is on or off. Each combination gives the
same SHA-256 of all frequencies of the codes, of all parameters of the pixels and of their distribution functions,
whether codes are computed in one pass or one by one. Each writes the images in blocks of its batch size, and
decodes the file of that batch size which the first process wrote. All files of a batch size are equal, so every
combination reads what any other wrote.

``python -m tests.torture.exact [--model RUN] [--data SPEC] [--split NAME] [--count N]`` checks other images;
``--whole`` takes all 12 combinations in each process instead of five.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from itertools import product, starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vqvae.coding import Block, ContainerReader, Header, pack
from vqvae.coding.integer import PRIORS, IntegerPixels
from vqvae.commands.coding_models import CodingModels, models_of_run
from vqvae.commands.decompress import decoded
from vqvae.data import load

COUNT = 100  # images
MODEL = "cifar10"
PROCESSORS = {
    "default": ("SSE41", "SSE4_2"),
    "avx2": ("AVX2", "AVX2"),
    "avx512": ("AVX512_CORE", "AVX512"),
}


def processors() -> list[str]:
    """Return the names of the processors that this machine can be."""
    best = torch.backends.cpu.get_cpu_capability().lower()
    return list(PROCESSORS)[: list(PROCESSORS).index(best) + 1] if best in PROCESSORS else ["default"]


class Way(NamedTuple):
    """How a process computes: batch size, number of threads, and whether mkldnn is on."""

    size: int
    threads: int
    mkldnn: bool


def ways(whole: bool) -> list[Way]:
    """Return all ways to compute; or one, and each change of it."""
    if whole:
        return list(starmap(Way, product((1, 7, 64), (1, 2), (True, False))))
    return [Way(64, 1, True), Way(1, 1, True), Way(7, 1, True), Way(64, 2, True), Way(64, 1, False)]


@torch.no_grad()
def digest(models: CodingModels, pixels: torch.Tensor, codes: torch.Tensor, size: int, one_pass: bool) -> str:
    """Return the SHA-256 of all tables of all images, image by image, computed in batches of a size."""
    assert models.prior is not None
    prior, decoder, found = (
        PRIORS.make(models.prior.model),
        IntegerPixels(models.tokenizer.model),
        hashlib.sha256(),
    )
    for part, own in zip(codes.split(size), pixels.split(size), strict=True):
        weights = prior.frequencies(len(part), tuple(part.shape[1:3]), part if one_pass else None)
        flat = part.flatten(1)
        tables = np.stack([weights(flat[:, i - 1] if i else None) for i in range(flat.shape[1])], 1)
        parameters = decoder.parameters_of(part)
        below = torch.empty(own.shape, dtype=torch.float64)
        for place, function in decoder.likelihood.coding_order(parameters, own):
            below[place] = function(own[place].long() + 1)
        for image in range(len(part)):
            for values in (tables, parameters.numpy(), below.numpy()):
                found.update(np.ascontiguousarray(values[image]).data)
    return found.hexdigest()


def written(models: CodingModels, pixels: torch.Tensor, codes: torch.Tensor, size: int) -> bytes:
    """Return the file of images, with every pixel, in blocks of a size."""
    coder, blocks, chunks = models.coder(exact=True, lossless=True), list[Block](), list[bytes]()
    for part, given in zip(pixels.split(size), codes.split(size), strict=True):
        own = coder.write_pixels(given, part)
        chunks += [coder.write_codes(given), *own]
        blocks.append(Block(len(part), tuple(part.shape[1:]), len(chunks[-1 - len(own)]), tuple(map(len, own))))
    hashes = [bytes.fromhex(file.hash) for file in models.files]
    names = tuple(map(str, range(len(pixels))))
    return pack(Header(True, hashes[0], hashes[1], names, tuple(blocks), exact=True), chunks)


def restored(models: CodingModels, file: bytes) -> torch.Tensor:
    """Return the images of a file, uint8 [B, C, H, W]."""
    with ContainerReader(file, path=Path("exact.vqi")) as reader:
        return torch.cat([image for _, image in decoded(reader, models)])


def judged(models: CodingModels, pixels: torch.Tensor, folder: Path, *, whole: bool) -> list[dict[str, Any]]:
    """Return for each way the digests of its tables and of its file, and whether it restored the images.

    It decodes the file of its batch size in the folder; the first process writes these files.
    """
    before, found = torch.get_num_threads(), list[dict[str, Any]]()
    codes = torch.cat([models.tokenizer.model.encode(part, exact=True) for part in pixels.split(64)])
    try:
        for way in ways(whole):
            torch.set_num_threads(way.threads)
            with torch.backends.mkldnn.flags(enabled=way.mkldnn):
                tables = [digest(models, pixels, codes, way.size, one_pass) for one_pass in (True, False)]
                content, kept = written(models, pixels, codes, way.size), folder / f"{way.size}.vqi"
                if not kept.exists():
                    kept.write_bytes(content)
                same = torch.equal(restored(models, kept.read_bytes()), pixels)
            own = {"way": way, "tables": tables, "file": hashlib.sha256(content).hexdigest(), "restored": same}
            found.append(own)
    finally:
        torch.set_num_threads(before)
    return found


def in_processor(name: str, model: str, folder: Path, *, whole: bool) -> list[dict[str, Any]]:
    """Return what ``judged`` returns in a process of its own; ``folder`` has the images and maybe the files."""
    isa, mkl = PROCESSORS[name]
    own = {"ATEN_CPU_CAPABILITY": name, "ONEDNN_MAX_CPU_ISA": isa, "MKL_ENABLE_INSTRUCTIONS": mkl}
    words = [sys.executable, "-m", "tests.torture.exact", "--one", str(folder), "--model", model]
    words += ["--whole"] if whole else []
    done = subprocess.run(words, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["capability"].lower() == name, found["capability"]
    return found["ways"]


def compare(model: str, pixels: torch.Tensor, names: list[str], *, whole: bool) -> tuple[str, dict[int, str]]:
    """Compare all processors and ways; return the digests of all tables, and of the file of each batch size."""
    found = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", pixels.numpy())
        for each in names:
            own = in_processor(each, model, folder, whole=whole)
            tables = ", ".join(sorted({value[:12] for one in own for value in one["tables"]}))
            print(f"{each}: {len(own)} ways, tables {tables}", file=sys.stderr, flush=True)
            found += [{"processor": each, **one} for one in own]
    assert all(one["restored"] for one in found), f"an image is not restored: {found}"
    assert len({value for one in found for value in one["tables"]}) == 1, f"the tables differ: {found}"
    files = {(one["way"][0], one["file"]) for one in found}
    assert len(files) == len(dict(files)), f"files of one batch size differ: {found}"
    return found[0]["tables"][0], dict(files)


def check(count: int, seed: int) -> str:
    return line(MODEL, load("shapes", "test", limit=count).pixels)


def line(model: str, pixels: torch.Tensor, *, whole: bool = False) -> str:
    names = processors()
    tables, files = compare(model, pixels, names, whole=whole)
    hashes = ", ".join(f"{files[size][:12]} in blocks of {size}" for size in sorted(files))
    return (
        f"{len(pixels):,} images, {', '.join(names)}, {len(ways(whole))} ways each: equal tables ({tables[:12]}), "
        f"equal files ({hashes}), and every image restored by each"
    )


def _one(folder: Path, model: str, *, whole: bool) -> None:
    """Judge in this process and print the result; the first process leaves its files for the next ones."""
    models, pixels = models_of_run(model), torch.from_numpy(np.load(folder / "images.npy"))
    found = judged(models, pixels, folder, whole=whole)
    print(json.dumps({"ways": found, "capability": torch.backends.cpu.get_cpu_capability()}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.exact", description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--whole", action="store_true", help="all combinations in each processor")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        _one(arguments.one, arguments.model, whole=arguments.whole)
        return
    held = {"validation": "auto"} if arguments.split == "validation" else {}
    pixels = load(arguments.data, arguments.split, limit=arguments.count, **held).pixels
    print(line(arguments.model, pixels, whole=arguments.whole))


if __name__ == "__main__":
    main()
