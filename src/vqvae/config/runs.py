"""What the two kinds of run are made of: the data, the model, the training."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field

from vqvae.component import STRICT, Count, CountOrZero, Fraction, NotNegative, Positive, Whole
from vqvae.data import OBJECT, Augmentation, Images, ImageSet, LoadOptions, Objects, load, open_stream
from vqvae.losses import LossConfig
from vqvae.models import VQVAE
from vqvae.priors import PixelCNN, PriorModelConfig

MEASURED_ROWS = 2048  # held out, by either stage at an evaluation in training; vqvae evaluate takes all


def _height_and_width(value: Any) -> Any:
    """Accept 64 for [64, 64], and "48x64"."""
    if isinstance(value, str) and value.count("x") == 1:
        value = value.split("x")
    return [value, value] if isinstance(value, int | str) else value


def _low_and_high(value: Any) -> Any:
    """Accept "0,4095" for [0, 4095]."""
    return value.split(",") if isinstance(value, str) and "," in value else value


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are made to fit.

    Attributes:
        spec: ``shapes``, ``shapes:50000``, ``cifar10``, ``hf:OWNER/NAME`` or a path.
        size: (height, width); ``64`` and ``48x64`` are understood. None: the images' own.
        fit: ``strict`` refuses images of another size, ``crop`` scales and centre-crops them.
        channels: 1 or 3; None: 1 where every image is grey.
        flip: whether training sees each image mirrored half the time.
        crops: shifted views of each image that training sees as often as the image itself; a prior's are encoded
            once and stored, so each costs one pass of the tokenizer over the data.
        label: the column of labels, where the images come in a table. None: a column that lists its classes, or
            one called label, labels, fine_label, class or coarse_label.
        range: the values that become 0 and 255 in pixels of more than 8 bits, as in ``0,4095``. ``full``: 0 and
            65535. ``auto``: 0 and the largest value of 8, 10, 12, 14 or 16 bits, the fewest that hold every
            training image.
        strict: whether a file that cannot be decoded stops the run.
        limit: the first so many images of a split only.
        validation: images of the training split that are held out and measured while training: a number of rows,
            or a share such as 0.1. They are the end of the split; where the images lie class by class, the end of
            each class. ``auto`` is the data set's own validation split beside a test split, or else 5,000 rows or
            5 %, whichever is less. 0 holds out nothing and measures the training images themselves.
        stream: whether training images are read as they are needed, for sets that do not fit into memory.
        interleave: number of interleaved read positions per batch of a stream. More positions mix better and hold
            more in memory; ranks share them.
    """

    __pydantic_config__ = STRICT

    spec: str = "shapes"
    size: Annotated[tuple[Count, Count] | None, BeforeValidator(_height_and_width)] = None
    fit: Literal["strict", "crop"] = "strict"
    channels: Literal[1, 3] | None = None
    flip: bool = False
    crops: CountOrZero = 0
    label: str | None = None
    range: Annotated[tuple[float, float] | Literal["auto", "full"], BeforeValidator(_low_and_high)] = "full"
    strict: bool = False
    limit: Count | None = None
    validation: CountOrZero | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"
    stream: bool = False
    interleave: Count = 16

    def training_images(self, multiple_of: int, *, data: Objects | None = None) -> Images:
        """Read the training split into memory, or open it where it is to be read as it is needed.

        Args:
            multiple_of: what height and width must be multiples of.
            data: an object as ``vqvae.data.load`` takes it, in place of ``spec``.
        """
        if not self.stream:
            return self.load("train", multiple_of=multiple_of, data=data)
        return open_stream(
            self.spec if data is None else data,
            "train",
            interleave=self.interleave,
            **self.options(multiple_of),
        )

    def validation_images(self, multiple_of: int, *, train: Images, data: Objects | None = None) -> ImageSet:
        """Read the validation split into memory; of a stream, as much as training measures.

        Args:
            multiple_of: what height and width must be multiples of.
            train: the training images, which validation images are read like.
            data: an object as ``vqvae.data.load`` takes it, in place of ``spec``.
        """
        limit = min(self.limit or MEASURED_ROWS, MEASURED_ROWS) if self.stream else self.limit
        config = replace(self.as_read(train), limit=limit)
        return config.load("validation", multiple_of=multiple_of, data=data)

    def as_read(self, train: Images) -> "DataConfig":
        """Return this config with what was decided once, on the training images, for all splits.

        These are the channels, the range of pixels and, under crop, the size. The spec of an object in Python gets
        its fingerprint.
        """
        channels, height, width = train.shape
        spec = self.spec
        if train.spec.startswith(OBJECT):
            spec = f"{train.spec}, SHA-256 {train.fingerprint[:16]}"
        return replace(
            self,
            spec=spec,
            channels=cast(Literal[1, 3], channels),
            size=(height, width) if self.fit == "crop" else self.size,
            range=train.pixel_range or "full",
        )

    def load(self, split: str, *, multiple_of: int, data: Objects | None = None) -> ImageSet:
        """Read a split, ``train``, ``validation`` or ``test``, into memory."""
        options = self.options(multiple_of)
        where = self.spec if data is None else data
        if split == "validation" and self.validation == 0:
            images = load(where, "train", **options)
            return replace(images, split=split, origin=f"the training images themselves, {images.origin}")
        return load(where, split, **options)

    def options(self, multiple_of: int) -> LoadOptions:
        """Return the options of ``vqvae.data.load`` for images whose sides are multiples of ``multiple_of``."""
        return {
            "size": self.size,
            "fit": self.fit,
            "channels": self.channels,
            "strict": self.strict,
            "limit": self.limit,
            "validation": self.validation,
            "label": self.label,
            "pixel_range": self.range,
            "multiple_of": multiple_of,
        }

    def augmentation(self, seed: int) -> Augmentation:
        """Return the views of a training image, a function of the run's seed."""
        return Augmentation(self.flip, self.crops, seed)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training loop; the same keys for both stages.

    Attributes:
        steps: number of optimizer steps.
        batch_size: images per optimizer step, over all ranks and micro-batches.
        accumulate: micro-batches per optimizer step; batch_size must be a multiple of it.
        learning_rate: learning rate at its peak, after the warmup.
        warmup: steps in which the learning rate rises linearly to the peak.
        final_rate: the learning rate at the last step, as a fraction of the peak; a cosine leads there.
        weight_decay: weight decay of AdamW; 0 makes it Adam.
        clip: largest norm of the gradient; longer gradients are scaled down to it. 0 means no limit.
        weight_ema: decay per step of the averaged weights, which are evaluated and saved.
        non_finite: what to do when a loss, gradient or statistic is not finite: ``stop`` the run before anything
            changes, ``skip`` the step, or ``back_off``: skip the step and halve the learning rate from there on.
        seed: seed of everything random.
        precision: precision of the networks; ``auto`` takes bf16 where a measurement at the start finds it faster,
            else fp32.
        compile: whether to compile the networks with torch.compile; ``auto`` does where it works and the run is
            long enough to gain.
        device: where to train: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; ``auto`` takes CUDA, else MPS,
            else the CPU.
        shard: whether to share weights, gradients, optimizer state and averages out over ranks (FSDP2), for models
            that do not fit on one device. By default, each rank holds all of them.
        log_every: steps between lines of metrics.
        evaluate_every: steps between measurements on validation images, with pictures.
        early_stopping: end the run after this many measurements without a new best, by nmse of a tokenizer or
            bits_per_code_prior of a prior; 0 never ends it early.
        checkpoint_every: steps between checkpoints.
        keep: number of newest checkpoints to keep; the model that measured best is kept too.
        tensorboard: whether to write TensorBoard events beside metrics.jsonl.
    """

    __pydantic_config__ = STRICT

    steps: Count = 3000
    batch_size: Count = 256
    accumulate: Count = 1
    learning_rate: Positive = 1e-3
    warmup: CountOrZero = 100
    final_rate: NotNegative = 0.02
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0
    weight_ema: Fraction = 0.999
    non_finite: Literal["stop", "skip", "back_off"] = "stop"
    seed: Whole = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    device: str = "auto"
    shard: bool = False
    log_every: Count = 50
    evaluate_every: Count = 500
    early_stopping: CountOrZero = 0
    checkpoint_every: Count = 500
    keep: Count = 2
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A tokenizer's training.

    Attributes:
        data: the images.
        model: the VQ-VAE.
        beta: weight of the commitment loss (arXiv 1711.00937, equation 3).
        losses: terms added to the objective, such as ``[{kind: l1, weight: 0.1}]``.
        revive_until: fraction of the training during which dead codes are revived; afterwards the codebook only
            converges.
        training: the loop.
    """

    __pydantic_config__ = STRICT

    stage: Literal["tokenizer"] = "tokenizer"
    data: DataConfig = field(default_factory=DataConfig)
    model: VQVAE.Config = field(default_factory=VQVAE.Config)
    beta: NotNegative = 0.25
    losses: tuple[LossConfig, ...] = ()
    revive_until: Annotated[float, Field(ge=0, le=1)] = 0.8
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """A prior's training over the codes of a tokenizer.

    Attributes:
        tokenizer: the tokenizer's run or model file.
        data: the images whose codes are learned.
        model: the prior's network.
        classes: whether the prior is conditioned on the images' classes.
        class_dropout: fraction of the labels that are hidden in training, so that the prior also learns codes
            without a class (which guidance needs).
        training: the loop.
    """

    __pydantic_config__ = STRICT

    stage: Literal["prior"] = "prior"
    tokenizer: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: PriorModelConfig = field(default_factory=PixelCNN.Config)
    classes: bool = False
    class_dropout: Fraction = 0.1
    training: TrainingConfig = field(default_factory=TrainingConfig)


RunConfig = TokenizerConfig | PriorConfig
