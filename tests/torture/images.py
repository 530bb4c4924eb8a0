"""10,000 images of which a hundred are bad, of every kind: exactly those are listed, and training goes on."""

import json
import resource
import tempfile
from pathlib import Path

from tests.torture.hostile import BAD, encoded

from vqvae.config import load_config
from vqvae.training import train

BAD_SHARE = 100

COUNT = 10_000  # images
SMALL = {
    "model.width": "8", "model.outer_width": "4", "model.residual_width": "4", "model.quantizer.num_codes": "16",
    "model.quantizer.dim": "4", "training.steps": "3", "training.batch_size": "16", "training.compile": "false",
    "training.precision": "fp32", "training.evaluate_every": "3", "training.checkpoint_every": "3",
}  # fmt: skip


def write_images(folder: Path, count: int) -> set[str]:
    """Write so many images, every hundredth of them bad, in two classes; return the bad ones' names."""
    bad: set[str] = set()
    kinds = list(BAD.items())
    for number in range(count):
        kind = "cats" if number % 2 else "dogs"
        where = folder / "train" / kind
        where.mkdir(parents=True, exist_ok=True)
        if number % BAD_SHARE == BAD_SHARE // 2:
            _, (suffix, make) = kinds[number // BAD_SHARE % len(kinds)]
            make(where / f"{number:05d}.{suffix}", number)
            bad.add(f"train/{kind}/{number:05d}.{suffix}")
        else:
            (where / f"{number:05d}.png").write_bytes(encoded(number, "PNG"))
    (folder / "test" / "cats").mkdir(parents=True)
    (folder / "test" / "cats" / "0.png").write_bytes(encoded(0, "PNG"))
    return bad


def check(count: int, seed: int) -> str:
    """Train on so many images; return one line of figures."""
    with tempfile.TemporaryDirectory() as name:
        bad = write_images(Path(name) / "images", count)
        config = load_config("shapes", "tokenizer", {"data.spec": f"{name}/images", **SMALL})
        run = train(config, out=f"{name}/run", name="run")
        said = json.loads(run.data.read_text())
    listed = {found["path"] for found in said["bad"]}
    assert listed == bad, (
        f"listed and good: {sorted(listed - bad)[:5]}; bad and not listed: {sorted(bad - listed)[:5]}"
    )
    assert said["train"]["images"] + said["validation"]["images"] == count - len(bad)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    kinds = min(len(BAD), len(bad))
    return (
        f"{count:,} images, {len(bad)} bad ones of {kinds} kinds: exactly those listed, trained on, peak {peak} MB"
    )
