"""The integer form on other processors: equal tables, equal files, and round trips between them.

Each processor is a process with ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA and MKL_ENABLE_INSTRUCTIONS of its own. In
it, the batch size is 1, 7 or 64, the number of threads 1 or 2, mkldnn is on or off, and codes are computed in one
pass or one by one. All give the same SHA-256 of all frequencies of the codes, of all parameters of the pixels and
of their distribution functions. A file depends on the codes, the pixels and these tables alone. Each process
writes the same file, and decodes the file of the first process.

``python -m tests.torture.exact [--model RUN] [--data SPEC] [--split NAME] [--count N]`` checks other images;
``--whole`` takes all 24 combinations in each process instead of six.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqvae.coding import Block, ContainerReader, Header, pack
from vqvae.coding.integer import PRIORS, IntegerPixels
from vqvae.commands.coding_models import CodingModels, models_of_run
from vqvae.commands.decompress import decoded
from vqvae.data import load

COUNT = 1000  # images
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


def ways(whole: bool) -> list[tuple[int, int, bool, bool]]:
    """Return batch size, number of threads, whether mkldnn is on, and whether codes are computed in one pass.

    Args:
        whole: all combinations; otherwise one, and each change of it.
    """
    if whole:
        return [(b, t, m, p) for b in (1, 7, 64) for t in (1, 2) for m in (True, False) for p in (True, False)]
    first = (64, 1, True, True)
    return [
        first,
        (1, *first[1:]),
        (7, *first[1:]),
        (64, 2, True, True),
        (64, 1, False, True),
        (64, 2, True, False),
    ]


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


def written(models: CodingModels, pixels: torch.Tensor) -> bytes:
    """Return the file of images, with every pixel."""
    coder, blocks, chunks = models.coder(exact=True, lossless=True), list[Block](), list[bytes]()
    for part in pixels.split(64):
        codes = models.tokenizer.model.encode(part, exact=True)
        own = coder.write_pixels(codes, part)
        chunks += [coder.write_codes(codes), *own]
        blocks.append(Block(len(part), tuple(part.shape[1:]), len(chunks[-1 - len(own)]), tuple(map(len, own))))
    hashes = [bytes.fromhex(file.hash) for file in models.files]
    names = tuple(map(str, range(len(pixels))))
    return pack(Header(True, hashes[0], hashes[1], names, tuple(blocks), exact=True), chunks)


def judged(models: CodingModels, pixels: torch.Tensor, file: bytes | None, *, whole: bool) -> dict[str, Any]:
    """Return the digests of all ways in this process, and of the file; decode a file that another one wrote."""
    before, digests = torch.get_num_threads(), dict[str, str]()
    codes = models.tokenizer.model.encode(pixels, exact=True)
    try:
        for way in ways(whole):
            size, threads, mkldnn, one_pass = way
            torch.set_num_threads(threads)
            with torch.backends.mkldnn.flags(enabled=mkldnn):
                digests[str(way)] = digest(models, pixels, codes, size, one_pass)
        content = written(models, pixels)
        with ContainerReader(content if file is None else file, path=Path("exact.vqi")) as reader:
            restored = torch.cat([image for _, image in decoded(reader, models)])
    finally:
        torch.set_num_threads(before)
    same = torch.equal(restored, pixels)
    return {"tables": digests, "file": hashlib.sha256(content).hexdigest(), "restored": same}


def in_processor(name: str, model: str, folder: Path, *, whole: bool) -> dict[str, Any]:
    """Return what ``judged`` returns in a process of its own; ``folder`` has the images and maybe the file."""
    isa, mkl = PROCESSORS[name]
    own = {"ATEN_CPU_CAPABILITY": name, "ONEDNN_MAX_CPU_ISA": isa, "MKL_ENABLE_INSTRUCTIONS": mkl}
    words = [sys.executable, "-m", "tests.torture.exact", "--one", str(folder), "--model", model]
    words += ["--whole"] if whole else []
    done = subprocess.run(words, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["capability"].lower() == name, found["capability"]
    return found


def compare(model: str, pixels: torch.Tensor, names: list[str], *, whole: bool) -> tuple[dict[str, Any], int]:
    """Compare all processors; return the facts of one, which are those of all, and the number of ways of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", pixels.numpy())
        found = dict[str, dict[str, Any]]()
        for each in names:
            found[each] = in_processor(each, model, folder, whole=whole)
            tables = ", ".join(sorted({value[:12] for value in found[each]["tables"].values()}))
            print(f"{each}: {len(found[each]['tables'])} ways, tables {tables}", file=sys.stderr, flush=True)
    assert all(one["restored"] for one in found.values()), "an image is not restored"
    tables = {(each, way): value for each, one in found.items() for way, value in one["tables"].items()}
    assert len(set(tables.values())) == 1, f"the tables differ: {tables}"
    assert len({one["file"] for one in found.values()}) == 1, "the files differ"
    return found[names[0]], len(tables) // len(names)


def check(count: int, seed: int) -> str:
    return line(MODEL, load("shapes", "test", limit=count).pixels)


def line(model: str, pixels: torch.Tensor, *, whole: bool = False) -> str:
    names = processors()
    facts, number = compare(model, pixels, names, whole=whole)
    digests = next(iter(facts["tables"].values()))
    return (
        f"{len(pixels):,} images, {', '.join(names)}, {number} ways each: equal tables ({digests[:12]}), "
        f"equal files ({facts['file'][:12]}), and every image restored by each"
    )


def _one(folder: Path, model: str, *, whole: bool) -> None:
    """Judge in this process and print the result; the first process leaves its file for the next ones."""
    models, pixels = models_of_run(model), torch.from_numpy(np.load(folder / "images.npy"))
    place = folder / "exact.vqi"
    found = judged(models, pixels, place.read_bytes() if place.exists() else None, whole=whole)
    if not place.exists():
        place.write_bytes(written(models, pixels))
    print(json.dumps({**found, "capability": torch.backends.cpu.get_cpu_capability()}))


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
