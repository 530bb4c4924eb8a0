"""Training of the judge: a classifier for measurements, trained apart from every tokenizer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae import noise
from vqvae.data import ImageSet, rows_at_step
from vqvae.errors import UserError
from vqvae.features import Judge
from vqvae.progress import Progress, silent
from vqvae.tensors import images_from_pixels
from vqvae.training.engine import bf16_is_faster

_SHIFT, _FLIP = 0x73686674, 0x666C6970  # keep the two draws of a row apart
_WHITENED_ON = 5_000  # images
_MEASURED_AT_ONCE = 500  # images


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """How a judge is trained. The values follow arXiv 2404.00498; none was chosen on the images it is measured on.

    Attributes:
        epochs: passages over the training rows.
        batch_size: images per step.
        learning_rate: the peak, after a fifth of the steps. The rate grows to it linearly from a fifth of it, then
            falls linearly to a twentieth of it.
        momentum: Nesterov's.
        weight_decay: of every weight that learns; a step multiplies a weight by 1 - learning rate * this.
        bias_factor: the learning rate of biases divided by that of other weights.
        label_smoothing: the part of the probability that is spread over all classes.
        shift: largest translation in pixels, filled by reflection.
        seed: of the starting weights, the order and the augmentation.
        precision: ``bf16``, ``fp32``, or ``auto``, which times both and takes bf16 if it is faster.
    """

    epochs: int = 18
    batch_size: int = 512
    learning_rate: float = 0.7
    momentum: float = 0.85
    weight_decay: float = 1.3e-3
    bias_factor: float = 64.0
    label_smoothing: float = 0.2
    shift: int = 2
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    def resolved(self, device: torch.device) -> "JudgeRecipe":
        """Return the recipe with the precision that ``auto`` stands for on this machine."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bf16" if bf16_is_faster(device) else "fp32")


def train_judge(
    train: ImageSet,
    validation: ImageSet,
    recipe: JudgeRecipe,
    *,
    device: torch.device,
    log: Callable[[str], object],
    progress: Progress = silent,
    widths: tuple[int, int, int] = (64, 256, 256),
) -> Judge:
    """Train a classifier of 32x32 images.

    Args:
        train: images with labels.
        validation: images with labels, held out of ``train``; only their accuracy is logged.
        recipe: how.
        device: where.
        log: takes one line per epoch.
        progress: called with the number of steps done and of all steps.
        widths: see ``Judge``.

    Raises:
        UserError: for fewer training images than a batch has.
    """
    if len(train) < recipe.batch_size:
        needed = f"a judge needs at least {recipe.batch_size}, a batch"
        raise UserError(f"{train.spec}: {len(train)} images for training: {needed}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        judge = Judge(widths, classes=len(train.classes))
    judge.whiten(images_from_pixels(train.pixels[:_WHITENED_ON]))
    judge = judge.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    per_epoch = len(train) // recipe.batch_size
    optimizer, schedule = _optimizer(judge, recipe, recipe.epochs * per_epoch)
    recipe = recipe.resolved(device)
    started, total = time.monotonic(), 0.0
    for step in range(recipe.epochs * per_epoch):
        total += _step(judge, train, recipe, step, optimizer)
        schedule.step()
        progress(step + 1, recipe.epochs * per_epoch)
        if (step + 1) % per_epoch == 0:
            right = accuracy(judge, validation)
            speed = (step + 1) * recipe.batch_size / (time.monotonic() - started)
            log(
                f"epoch {(step + 1) // per_epoch}/{recipe.epochs}  loss {total / per_epoch:.4f}  "
                f"validation accuracy {right:.4f}  images_per_second {speed:.0f}"
            )
            total = 0.0
    return judge.eval().requires_grad_(False)


def _step(
    judge: Judge, train: ImageSet, recipe: JudgeRecipe, step: int, optimizer: torch.optim.Optimizer
) -> float:
    assert train.labels is not None
    rows, epochs = rows_at_step(step, batch_size=recipe.batch_size, num_rows=len(train), seed=recipe.seed)
    device = judge.head.weight.device
    pixels = augmented(train.pixels[rows], rows, epochs, shift=recipe.shift, seed=recipe.seed)
    images = images_from_pixels(pixels).to(device, memory_format=torch.channels_last)
    judge.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits = judge.logits(images)
    labels = train.labels[rows].to(device)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _optimizer(
    judge: Judge, recipe: JudgeRecipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    learning = [p for p in judge.parameters() if p.requires_grad]
    rate = recipe.learning_rate
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "lr": rate, "weight_decay": recipe.weight_decay},
        {
            "params": [p for p in learning if p.ndim == 1],
            "lr": rate * recipe.bias_factor,
            "weight_decay": recipe.weight_decay / recipe.bias_factor,
        },
    ]
    optimizer = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=True)
    peak = max(1, round(0.2 * steps))

    def factor(step: int) -> float:
        if step < peak:
            return 0.2 + 0.8 * step / peak
        return 1 - 0.95 * (step - peak) / max(1, steps - peak)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def augmented(pixels: Tensor, rows: Tensor, epochs: Tensor, *, shift: int, seed: int) -> Tensor:
    """Return images translated by up to ``shift`` pixels, and mirrored in every second epoch.

    An image that is mirrored in one epoch is as it is in the next: arXiv 2404.00498, section 3.6.

    Args:
        pixels: [B, C, H, W], any type.
        rows: int64 [B], which images of the set these are.
        epochs: int64 [B].
        shift: in pixels.
        seed: of the augmentation.
    """
    places: list[Tensor] = []
    for axis in (2, 3):
        side = pixels.shape[axis]
        offset = noise.random_bits(seed, _SHIFT, epochs, rows, axis) % (2 * shift + 1) - shift
        at = torch.arange(side) + offset[:, None]
        places.append((side - 1) - ((side - 1) - at.abs()).abs())  # reflected at both edges
    mirrored = (noise.random_bits(seed, _FLIP, rows) + epochs) % 2 == 1
    down, right = places
    right = torch.where(mirrored[:, None], right.flip(1), right)
    images = torch.arange(len(pixels))[:, None, None]
    return pixels[images, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(judge: Judge, images: ImageSet) -> float:
    """Return the share of images, in 0..1, whose likeliest class is their label; in float32, in eval mode."""
    assert images.labels is not None
    judge.eval()
    device, right = judge.head.weight.device, 0
    for rows in torch.arange(len(images)).split(_MEASURED_AT_ONCE):
        batch = images_from_pixels(images.pixels[rows]).to(device, memory_format=torch.channels_last)
        right += int((judge.logits(batch).argmax(1).cpu() == images.labels[rows]).sum())
    return right / len(images)


def stored(judge: Judge) -> dict[str, Tensor]:
    """Return a judge's weights as its file holds them, on the CPU: float16, and float32 running statistics.

    A running variance may be too small for float16.
    """
    kept = {name: value.cpu() for name, value in judge.state_dict().items() if "num_batches" not in name}
    return {name: value if "running" in name else value.half() for name, value in kept.items()}
