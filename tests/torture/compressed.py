"""Mutated, cut and spliced compressed files: one typed error, and never a wrong image.

Mutants of bytes must be refused, or decode to the images that were compressed. Some mutants are malicious: a
header or a chunk is wrong and every checksum right. They must be refused, or decode to whole images. Each takes at
most 50 ms of CPU time and 256 MB.
"""

import random
import resource
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path

import torch
from tests.torture.mutants import MEGABYTES, mutate
from torch import Tensor

from vqvae.coding import Block, ContainerReader, Header, pack
from vqvae.commands.coding_models import CodingModels
from vqvae.commands.decompress import decoded
from vqvae.config import load_config
from vqvae.errors import UserError
from vqvae.likelihoods import LogisticMixtureLikelihood
from vqvae.model_card import prior_card, tokenizer_card
from vqvae.model_io import build_prior, build_tokenizer, open_prior, open_tokenizer, read_model, save_model
from vqvae.tensors import CodeSpec

COUNT = 100_000  # mutated files
SLOW = 0.05  # seconds


def models_in(folder: Path) -> CodingModels:
    """Make a small tokenizer and a small prior, untrained."""
    config = load_config("shapes", "tokenizer", {"model.width": "8", "model.outer_width": "4",
        "model.residual_width": "4", "model.quantizer.num_codes": "16", "model.quantizer.dim": "4"})  # fmt: skip
    config = replace(
        config, model=replace(config.model, likelihood=LogisticMixtureLikelihood.Config(components=2))
    )
    of_prior = load_config(
        "shapes-prior", "prior", {"model.width": "8", "model.layers": "2", "model.head_width": "8"}
    )
    tokenizer = build_tokenizer(config.model, channels=3)
    card = tokenizer_card(config.model, classes=(), image_shape=(3, 8, 8), step=7)
    save_model(folder / "tokenizer.safetensors", tokenizer.state_dict(), card)
    identity = read_model(folder / "tokenizer.safetensors").card.identity
    prior = build_prior(of_prior.model, CodeSpec((2, 2), 1, 16))
    card = prior_card(of_prior.model, prior, classes=(), image_shape=(3, 8, 8), tokenizer=identity, step=7)
    save_model(folder / "prior.safetensors", prior.state_dict(), card)
    files = tuple(read_model(folder / f"{name}.safetensors") for name in ("tokenizer", "prior"))
    return CodingModels(open_tokenizer(files[0]), open_prior(files[1]), files)


def original(models: CodingModels, *, lossless: bool) -> tuple[Header, list[bytes]]:
    """Return header and chunks of three images in two blocks, few, since a mutant may take as long as they do."""
    assert models.prior is not None
    tokenizer, blocks, chunks = models.tokenizer.model, list[Block](), list[bytes]()
    coder = models.coder(exact=False, lossless=lossless)
    for count, height in ((2, 8), (1, 12)):
        pixels = torch.randint(0, 256, (count, 3, height, 8), generator=torch.Generator().manual_seed(count))
        pixels = pixels.to(torch.uint8)
        codes = tokenizer.encode(pixels, exact=True)
        coded = [coder.write_codes(codes)]
        if lossless:
            coded += coder.write_pixels(codes, pixels)
        sizes = [len(chunk) for chunk in coded]
        blocks.append(Block(count, (3, height, 8), sizes[0], tuple(sizes[1:])))
        chunks += coded
    hashes = [bytes.fromhex(file.hash) for file in models.files]
    return Header(lossless, hashes[0], hashes[1], tuple("abc"), tuple(blocks)), chunks


def images_of(content: bytes, models: CodingModels) -> list[tuple[str, Tensor]]:
    with ContainerReader(content, path=Path("mutant")) as reader:
        reader.check()
        return list(decoded(reader, models))


def malicious(header: Header, chunks: list[bytes], rng: random.Random) -> bytes:
    """Return a file whose header or chunk is wrong and whose checksums are right."""
    chunks = list(chunks)
    way = rng.randrange(4)
    if way == 0:  # another chunk, of another size
        number = rng.randrange(len(chunks))
        chunks[number] = mutate(chunks[number], rng, text=False)[:5000]
    block = rng.randrange(len(header.blocks))
    blocks, at = list(header.blocks), 0
    for number, each in enumerate(blocks):
        pixels = tuple(len(chunk) for chunk in chunks[at + 1 : at + 1 + len(each.pixels)])
        blocks[number], at = replace(each, codes=len(chunks[at]), pixels=pixels), at + 1 + len(each.pixels)
    if way == 1:  # another size of the images
        shape = rng.choice(((3, 16, 8), (3, 4, 4), (1, 8, 8), (3, 9, 8), (3, 0, 8), (3, 2**13, 2**14)))
        blocks[block] = replace(blocks[block], shape=shape)
    header = replace(header, blocks=tuple(blocks))
    if way == 2:  # another number of images
        count = rng.choice((0, 1, 2, 5, 2**20, 2**40))
        blocks[block] = replace(blocks[block], count=count)
        names = ("..", "a", "/etc/x", "")[: rng.randrange(5)] if rng.random() < 0.5 else header.names
        header = replace(header, blocks=tuple(blocks), names=tuple(names))
    if way == 3:  # the header's bytes
        content = pack(header, chunks)
        head = len(header.encoded())
        changed = mutate(content[10 : head - 4], rng, text=False)
        changed = content[:10] + changed
        return changed + zlib.crc32(changed).to_bytes(4, "little") + content[head:]
    return pack(header, chunks)


def judge(seed: int, count: int) -> tuple[int, float, int, list[str]]:
    """Read mutants in this process, which may grow by 256 MB meanwhile.

    Returns:
        How many were refused, the slowest in seconds of CPU, how many took more than 50 ms, and what went wrong.
    """
    rng, threads = random.Random(seed), torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        models = models_in(Path(name))
    sources = [original(models, lossless=lossless) for lossless in (False, True)]
    whole = [pack(*source) for source in sources]
    expected = [images_of(content, models) for content in whole]
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEGABYTES * 2**20, before[1]))
    refused, slowest, slow, wrong = 0, 0.0, 0, list[str]()
    try:
        for number in range(count):
            which, malice = rng.randrange(2), rng.random() < 0.3
            content = malicious(*sources[which], rng) if malice else mutate(whole[which], rng, text=False)
            took, problem = _judged(content, models, None if malice else expected[which])
            for _ in range(4):  # again: garbage, a cold cache and a busy processor are no faults of the file
                if took > SLOW:
                    took = min(took, _judged(content, models, None if malice else expected[which])[0])
            slowest, slow, refused = max(slowest, took), slow + (took > SLOW), refused + (problem == "")
            if problem:
                wrong.append(f"mutant {number} of seed {seed}: {problem}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        torch.set_num_threads(threads)
    return refused, slowest, slow, wrong


def _judged(
    content: bytes, models: CodingModels, expected: list[tuple[str, Tensor]] | None
) -> tuple[float, str | None]:
    start = time.process_time()
    try:
        found = images_of(content, models)
    except UserError as error:
        problem = "" if "\n" not in str(error) and len(str(error)) < 500 else f"not one line: {error}"
    except BaseException as error:  # also what constriction's compiled code raises
        problem = f"{type(error).__name__}: {error}"
    else:
        same = expected is None or (
            [name for name, _ in found] == [name for name, _ in expected]
            and all(torch.equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))
        )
        problem = None if same else "decodes to wrong images"
    return time.process_time() - start, problem


def check(count: int, seed: int) -> str:
    refused, slowest, slow, wrong = judge(seed, count)
    assert not wrong, "\n".join(wrong[:20])
    assert slow == 0, f"{slow} mutants took more than 50 ms, the slowest {1000 * slowest:.0f} ms"
    return (
        f"{count:,} mutants: {refused:,} refused by one typed error, {count - refused:,} decoded to whole images, "
        f"none wrong; none took more than {MEGABYTES} MB, the slowest {1000 * slowest:.0f} ms"
    )
