"""Mutated copies of every file of our own: one typed error or a well-formed object, fast and small."""

import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from vqvae.config import load_config
from vqvae.errors import UserError
from vqvae.files import read_json, read_records
from vqvae.model_card import prior_card, tokenizer_card
from vqvae.model_io import build_prior, build_tokenizer, load_prior, load_tokenizer, save_model
from vqvae.report.run_reader import read_run
from vqvae.tensorfile import save_tensors
from vqvae.tensors import CodeSpec
from vqvae.tokens import Shard, Store, StoreHeader
from vqvae.tokens.store import read_shard
from vqvae.training import Run
from vqvae.training.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from vqvae.training.group import Group
from vqvae.training.stage import Trainable
from vqvae.training.weights import WholeWeights

COUNT = 100_000  # mutated files

MEGABYTES = 256
_VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), "", "x" * 1000, "\0", [], {},
    [[]], [1, 2, 3], {"kind": "fsq", "levels": [3] * 50}, {"a": {"b": {}}},
]  # fmt: skip
_TEXTS = [
    b"[" * 5000, b'{"a":' * 3000, b"1e999", b"-" * 100, b"9" * 5000, b"1:" * 5000 + b"1", b"&a [*a, *a]",
    b"<<: *x", b"!!python/object/apply:os.system [id]", b"!!int ''", b"!!timestamp x", b"!!binary x",
    b"? [1]\n: 2\n", b"\xff\xfe", b"NaN", b"Infinity", b"null", b'"step"', b"\n", b"\0" * 50, b"stage: other\n",
    b"{}", b"model: {}\n",
]  # fmt: skip
_LAUGHS = b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9 if i else [b"x"] * 9)) for i in range(9)
)


def originals(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Write one small file of each kind; return for each name what reads it."""
    tokenizer = load_config("shapes", "tokenizer", {"model.width": "8", "model.outer_width": "4",
        "model.residual_width": "4", "model.quantizer.num_codes": "16", "model.quantizer.dim": "4"})  # fmt: skip
    prior = load_config(
        "shapes-prior", "prior", {"model.width": "8", "model.layers": "2", "model.head_width": "8"}
    )
    first = build_tokenizer(tokenizer.model, channels=3)
    second = build_prior(prior.model, CodeSpec((8, 8), 1, 16), num_classes=8)
    card = tokenizer_card(tokenizer.model, classes=("a", "b"), image_shape=(3, 32, 32), step=7)
    save_model(folder / "tokenizer.safetensors", first.state_dict(), card)
    described = prior_card(
        prior.model, second, classes=tuple("abcdefgh"), image_shape=(3, 32, 32), tokenizer="ab" * 32, step=7
    )
    save_model(folder / "prior.safetensors", second.state_dict(), described)
    for parameter in first.parameters():
        parameter.grad = torch.zeros_like(parameter)
    groups = {"model": Group("model", Trainable(first), WholeWeights(first), tokenizer.training)}
    groups["model"].step(1e-3)
    save_checkpoint(folder, {"step": 7}, groups, keep=1)
    checkpoint_path(folder, 7).rename(folder / "checkpoint.safetensors")
    header = StoreHeader(tokenizer="ab" * 32, shape=(2, 2, 1), num_codes=16, image_shape=(3, 8, 8), rows=5,
        rows_per_shard=3, classes=("a", "b"), labelled=True)  # fmt: skip
    store = Store.create(folder / "store", header)
    rows = torch.arange(3)
    store.write(0, Shard(rows, torch.zeros(3, 2, 2, 1), rows % 2, ("a", "b", "c"), (("d", "cut"),)))
    store.shard_file(0).rename(folder / "shard.safetensors")
    with Run.claimed(str(folder / "run"), "x") as run:
        run.begin(tokenizer)
    run.metrics.write_text(
        "".join(json.dumps({"step": i, "split": "train", "loss": 1 / (i + 1)}) + "\n" for i in range(9))
    )
    split = {"images": 9, "shape": [3, 32, 32], "fingerprint": "ab" * 32}
    run.data.write_text(json.dumps({"spec": "shapes", "train": split, "test": split, "classes": ["a"], "bad": []}))
    run.evaluation.write_text(json.dumps({"results": {"images": 9, "nmse": 0.1}, "counts": [1, 2, 3]}))
    return {
        "tokenizer.safetensors": load_tokenizer,
        "prior.safetensors": load_prior,
        "checkpoint.safetensors": partial(load_checkpoint, groups=groups),
        "shard.safetensors": read_shard,
        "store/store.json": lambda file: Store.open(file.parent),
        "run/config.yaml": lambda file: (Run(file.parent).read_config(), read_run(file.parent)),
        "run/metrics.jsonl": lambda file: [record["step"] <= 3 for record in read_records(file)],
        "run/data.json": read_json,
        "run/evaluation.json": read_json,
    }


def mutate(content: bytes, rng: random.Random, *, text: bool) -> bytes:
    """Return a damaged copy: flips, cuts, splices, repeats, huge lengths, and words of mischief."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(content) + 1), rng.choice((1, 4, 8, 64, 1000))
        way = rng.randrange(8 if text else 7)
        if way == 0 and content:
            place %= len(content)
            content = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        elif way == 1:
            content = content[:place]
        elif way == 2:
            source = rng.randrange(len(content) + 1)
            content = content[:place] + content[source : source + length] + content[place:]
        elif way == 3:
            content = content[:place] + content[place + length :]
        elif way == 4:
            content = content[:place] + rng.randbytes(length) + content[place + length :]
        elif way == 5:
            content = (
                rng.choice((2**63 - 1, 2**40, 99_999_999, 0, len(content))).to_bytes(8, "little") + content[8:]
            )
        elif way == 6:
            content = content[:place] + rng.choice(_TEXTS) + content[place:]
        else:
            content = rng.choice((_LAUGHS, _LAUGHS + content, rng.choice(_TEXTS), b"x: " + rng.choice(_TEXTS)))
    return content


def swap(value: Any, rng: random.Random) -> Any:
    """Return JSON with one value, somewhere in it, replaced or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        rest = {name: found for name, found in value.items() if name != key}
        return rest if rng.random() < 0.1 else {**value, key: swap(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        index = rng.randrange(len(value))
        return [*value[:index], swap(value[index], rng), *value[index + 1 :]]
    return rng.choice(_VALUES)


def reseal(file: Path, original: Path, rng: random.Random) -> None:
    """Write a tensor file of which the content is wrong and the checksum right, as malice would."""
    with safe_open(original, framework="pt") as content:
        header = json.loads(content.metadata()["vqvae"])
        tensors = {name: content.get_tensor(name) for name in content.keys()}
    header.pop("crc32")
    if rng.random() < 0.7:
        header = swap(header, rng)
    else:
        name = rng.choice(sorted(tensors))
        other = [tensors[name].double(), tensors[name].flatten(), tensors[name].new_empty(0), torch.tensor(5),
            torch.zeros(3, 2, 2, 1, dtype=torch.uint8) + 200, torch.full((3,), -(2**60))]  # fmt: skip
        tensors[name] = rng.choice(other)
    if isinstance(header, dict):
        save_tensors(file, header.pop("kind", "x"), header.pop("version", 1), header, tensors)


def judge(seed: int, count: int) -> tuple[int, float, int, list[str]]:
    """Read mutants in this process, which may grow by 256 MB meanwhile.

    Returns:
        How many were refused, the slowest in seconds of CPU, how many took more than 50 ms, and what went wrong.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), random.Random(seed)
        readers = originals(folder)
        whole = {path: (folder / path).read_bytes() for path in readers}
        for path, read in readers.items():
            read(folder / path)
            (folder / f"{path}.whole").write_bytes(whole[path])
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + MEGABYTES * 2**20, before[1]))
        refused, slowest, slow, wrong = 0, 0.0, 0, list[str]()
        try:
            for number in range(count):
                path = rng.choice(sorted(readers))
                _write_mutant(folder / path, folder / f"{path}.whole", rng)
                took, problem = _timed(readers[path], folder / path)
                if took > 0.05:  # once more: a collection of garbage, or a cold cache, is no fault of the file
                    took, problem = min((took, problem), _timed(readers[path], folder / path))
                slowest, slow, refused = max(slowest, took), slow + (took > 0.05), refused + (problem == "")
                if problem:
                    wrong.append(f"{path}: mutant {number} of seed {seed}: {problem}")
                (folder / path).write_bytes(whole[path])
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        return refused, slowest, slow, wrong


def _write_mutant(file: Path, whole: Path, rng: random.Random) -> None:
    tensors = file.suffix == ".safetensors"
    if tensors and rng.random() < 0.3:
        reseal(file, whole, rng)
    elif file.suffix == ".json" and rng.random() < 0.3:
        file.write_text(json.dumps(swap(json.loads(whole.read_bytes()), rng)))
    else:
        file.write_bytes(mutate(whole.read_bytes(), rng, text=not tensors))


def _timed(read: Callable[[Path], object], file: Path) -> tuple[float, str | None]:
    start = time.process_time()
    problem = _problem(read, file)
    return time.process_time() - start, problem


def _problem(read: Callable[[Path], object], file: Path) -> str | None:
    """Return None where the file was read, "" where it was refused as it should, else what went wrong."""
    try:
        read(file)
    except UserError as error:
        return "" if "\n" not in str(error) and len(str(error)) < 2000 else f"no line: {error!s:.200}"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None


def check(count: int, seed: int) -> str:
    """Read so many mutants; return one line of figures, or raise with what went wrong."""
    refused, slowest, slow, wrong = judge(seed, count)
    if wrong:
        raise AssertionError(f"{len(wrong)} mutants were neither refused nor read: " + "; ".join(wrong[:5]))
    return (
        f"{count:,} mutants of 9 kinds of file: {refused:,} refused by one typed error, {count - refused:,} "
        f"well-formed; none took more than {MEGABYTES} MB, {slow} more than 50 ms, "
        f"the slowest {1000 * slowest:.0f} ms"
    )
