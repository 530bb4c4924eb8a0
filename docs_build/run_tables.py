"""What differs between a command in the documentation and the command that ``make docs-commands`` runs."""

from pathlib import Path

import numpy as np
from PIL import Image

_NAMES = (
    "tutorial own-images training report-and-doctor choosing-a-quantizer fine-tuning extra-losses sampling tokens "
    "comparing page export scale"
)
PAGES = ("README.md", *(f"docs/{name}.md" for name in _NAMES.split()))
PYTHON_PAGES = ("tokens.md",)  # pages whose Python blocks are whole and are run too, as one script

_PHOTOS = "--data photos --data.size 32 --data.fit crop"
# patterns of what follows `vqvae`, and the options that are appended; the last value of an option counts
APPENDED = (
    (r"train ", "--model.width 8 --model.outer_width 8"),
    (r"train shapes", "--model.residual_width 8"),
    (r"train cifar10 (?!.*--data )", _PHOTOS),
    (r"prior (?!.*yaml)", "--model.width 16 --model.layers 2 --model.head_width 16"),
    (r"prior .*cifar10-transformer", "--model.heads 4"),
    (
        r"(train|prior) ",
        "--steps 3 --data.limit 64 --training.batch_size 8 --training.warmup 1 --training.compile false",
    ),
    (r"resume .*--steps", "--steps 6"),
    (r"sample ", "--num 8"),
    (r"export ", "--num 8"),
)
# words in place of others: data that must be downloaded, places and devices that are not there
REPLACED = {
    "--data cifar10": _PHOTOS,
    "train cifar10 --init": f"train runs/cifar10/config.yaml {_PHOTOS} --init",
    "--device cuda:1 --data /new/place": "--device cpu --data photos",
    "--nproc-per-node 8": "--nproc-per-node 2",
}
# what pages take for granted; a page that makes it itself makes its own
MADE_FIRST = {
    "runs/shapes": "vqvae train shapes --out runs/shapes",
    "runs/shapes-prior": "vqvae prior runs/shapes shapes-prior --out runs/shapes-prior",
    "runs/cifar10": "vqvae train cifar10 --out runs/cifar10",
    "runs/cifar10-prior": "vqvae prior runs/cifar10 --out runs/cifar10-prior",
    "runs/imagenet": "vqvae train cifar10 --out runs/imagenet",
    "codes": "vqvae encode runs/shapes --data shapes:64 --out codes",
}
# by the beginning of the command, the reason
NOT_RUN = {
    "python3 -m venv": "needs a network; .ci/wheel installs the wheel into an empty environment",
    "pip install": "needs a network; .ci/wheel installs the wheel into an empty environment",
    "make ": ".ci/run runs these",
    "vqvae train cifar10-perceptual": "needs weights that are not in the repository; tests/losses/test_runs.py",
    "vqvae judge --data cifar10": "needs CIFAR-10; tests/training/test_judge.py",
    "vqvae doctor runs/sharp": "a run that was not made",
    "vqvae sample runs/cifar10-transformer --tokenizer runs/sharp": "a run that was not made",
    "torchrun --nnodes": "needs several machines; tests/torture/hosts.py",
}
DOCTOR = "vqvae doctor"  # its exit code is 1 for a run of 3 steps, which is not healthy


def make_files(folder: Path) -> None:
    """Make the files that pages name: folders of images of two classes, images, a recipe of a transformer."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 48, 3), dtype=np.uint8)
    for place in ("photos", "path/to/folder", "originals", "reconstructions"):
        for i, image in enumerate(pixels):
            path = folder / place / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    for name in ("image", "a", "b"):
        Image.fromarray(pixels[0, :32, :32]).save(folder / f"{name}.png")
    recipe = "stage: prior\nmodel: {kind: transformer, width: 32, layers: 2}\n"
    (folder / "large-prior.yaml").write_text(recipe)
