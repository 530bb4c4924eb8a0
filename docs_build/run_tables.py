"""What differs between a command in the documentation and the command that ``make docs-commands`` runs."""

from pathlib import Path

import numpy as np
from PIL import Image

PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "install",
            "tutorial",
            "own-images",
            "training",
            "report-and-doctor",
            "choosing-a-quantizer",
            "fine-tuning",
            "extra-losses",
            "sampling",
            "tokens",
            "comparing",
            "scale",
            "extending",
        )
    ),
)
PYTHON_PAGES = ("tokens.md",)  # pages whose Python blocks are whole and are run too, as one script

_SHORT = (
    "--steps 3 --data.limit 64 --training.batch_size 8 --training.warmup 1 --training.compile false --device cpu"
)
_NARROW = "--model.width 8 --model.outer_width 8 --model.residual_width 8 --model.residual_blocks 1"
# by the beginning of the command after `vqvae`: options that make it short; the last value of an option counts
APPENDED = {
    "train [^-]*--init": _SHORT,
    "train": f"{_SHORT} {_NARROW}",
    "prior": f"{_SHORT} --model.width 8 --model.layers 2 --model.head_width 16",
    "resume": "--device cpu",
    "evaluate": "--data.limit 64",
    "compare": "--data.limit 64",
    "encode": "--data.limit 64",
    "sample": "--num 8",
}
# words: in place of data that must be downloaded, of files that the reader has, and of machines that are not there
REPLACED = {
    "--data cifar10": "--data photos --data.size 32 --data.fit crop",
    "train cifar10 --init": "train runs/cifar10/config.yaml --init",
    "--nproc-per-node 8": "--nproc-per-node 2",
}
# what pages take for granted; a page that makes it itself makes its own
MADE_FIRST = {
    "runs/shapes": "vqvae train shapes --out runs/shapes",
    "runs/shapes-prior": "vqvae prior runs/shapes shapes-prior --out runs/shapes-prior",
    "runs/shapes-large": "vqvae train shapes-large --out runs/shapes-large",
    "runs/shapes-large-prior": "vqvae prior runs/shapes-large shapes-large-prior --out runs/shapes-large-prior",
    "runs/cifar10": "vqvae train cifar10 --out runs/cifar10",
    "runs/cifar10-prior": "vqvae prior runs/cifar10 --out runs/cifar10-prior",
    "codes": "vqvae encode runs/shapes --data shapes --out codes",
}
# by the beginning of the command
NOT_RUN = {
    "python3 -m venv": "needs a network; .ci/wheel installs the wheel into an empty environment",
    "pip install": "the same",
    "make ": "make targets are run by .ci/run, or by hand",
}
EXPECTED_CODES = {"vqvae doctor": 1}  # a run of 3 steps is not healthy


def make_images(folder: Path) -> None:
    """Make the images that the pages name, of two classes: folders, and the single file ``image.png``."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 48, 3), dtype=np.uint8)
    for place in ("photos", "path/to/folder", "originals", "reconstructions"):
        for i, image in enumerate(pixels):
            path = folder / place / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    Image.fromarray(pixels[0, :32, :32]).save(folder / "image.png")
