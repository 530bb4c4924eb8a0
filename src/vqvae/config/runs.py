"""The settings of a tokenizer's run and of a prior's run: the data, the model, the training."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field

from vqvae.component import STRICT, Count, CountOrZero, Fraction, NotNegative, Positive, Whole
from vqvae.data import OBJECT, Augmentation, Images, ImageSet, LoadOptions, Objects, load, open_stream
from vqvae.losses import LossConfig
from vqvae.models import VQVAE
from vqvae.priors import PixelCNN, PriorModelConfig
from vqvae.sampling import PLAIN, Controls

MEASURED_ROWS = (
    2048  # most validation images that a measurement in training reads; vqvae evaluate reads all images
)


def _height_and_width(value: Any) -> Any:
    """Accept 64 for [64, 64], and "48x64"."""
    if isinstance(value, str) and value.count("x") == 1:
        value = value.split("x")
    return [value, value] if isinstance(value, int | str) else value


def _separated(value: Any) -> Any:
    """Accept "encoder,quantizer" for ["encoder", "quantizer"]."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _low_and_high(value: Any) -> Any:
    """Accept "0,4095" for [0, 4095]."""
    return value.split(",") if isinstance(value, str) and "," in value else value


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images, and how they are resized, converted and split.

    Attributes:
        spec: the images: ``shapes``, ``shapes:50000``, ``cifar10``, ``hf:OWNER/NAME``, or the path of a folder or
            file.
        size: height and width of the images in pixels. ``64`` means 64x64; ``48x64`` means height 48 and width 64.
            ``null`` takes the size that the images have; if ``fit`` is ``crop``, it takes their most common size.
        fit: what to do with an image of another size. ``strict`` stops with an error. ``crop`` scales the image
            until it covers the size, then cuts out the centre.
        channels: number of channels: 1 for grey, 3 for RGB. ``null`` takes 1 if every training image is grey,
            otherwise 3.
        flip: whether training mirrors each image left to right with probability 1/2.
        crops: number of shifted views of each training image, beside the image itself. A view is shifted by at
            most an eighth of the height and the width. Training draws the image and its views with equal
            probability. A prior's training encodes each view once and stores its codes: one more pass of the
            tokenizer per view.
        label: name of the label column, for images in a table. ``null`` takes the column that lists its classes,
            or else the column called label, labels, fine_label, class or coarse_label.
        image: name of the column or array of images, if there are several. ``null`` takes the only one, or the one
            called image.
        range: the two values that are mapped to 0 and 255 in pixels of more than 8 bits, such as ``0,4095``.
            ``full`` means 0,65535. ``auto`` means 0 and the largest value of 8, 10, 12, 14 or 16 bits: the
            smallest of these widths that holds every pixel of the training images.
        strict: whether a file that cannot be decoded stops the command. Otherwise the file is reported and
            skipped.
        limit: largest number of images to use of each split: its first ones. ``null`` uses all images.
        validation: what to hold out of the training split. Training measures on these images and does not train on
            them. Give a number of images, or a fraction such as 0.1. The end of the split is held out; if the
            images are sorted by class, the end of each class. ``auto`` takes the data set's own validation split
            if it also has a test split; otherwise 5,000 images or 5 %, whichever is less. 0 holds out nothing:
            training then measures on the training images.
        stream: whether to read training images when they are needed, for data sets that do not fit into memory.
        interleave: number of interleaved read positions per batch of a stream. More positions mix the images
            better and take more memory. Ranks share the positions.
    """

    __pydantic_config__ = STRICT

    spec: str = "shapes"
    size: Annotated[tuple[Count, Count] | None, BeforeValidator(_height_and_width)] = None
    fit: Literal["strict", "crop"] = "strict"
    channels: Literal[1, 3] | None = None
    flip: bool = False
    crops: CountOrZero = 0
    label: str | None = None
    image: str | None = None
    range: Annotated[tuple[float, float] | Literal["auto", "full"], BeforeValidator(_low_and_high)] = "full"
    strict: bool = False
    limit: Count | None = None
    validation: CountOrZero | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"
    stream: bool = False
    interleave: Count = 16

    def training_images(self, multiple_of: int, *, data: Objects | None = None) -> Images:
        """Read the training split into memory; if ``stream`` is set, open it as a stream.

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
        """Read the validation split into memory; of a stream, only the images that training measures.

        Args:
            multiple_of: what height and width must be multiples of.
            train: the training images, which validation images are read like.
            data: an object as ``vqvae.data.load`` takes it, in place of ``spec``.
        """
        limit = min(self.limit or MEASURED_ROWS, MEASURED_ROWS) if self.stream else self.limit
        config = replace(self.as_read(train), limit=limit)
        return config.load("validation", multiple_of=multiple_of, data=data)

    def as_read(self, train: Images) -> "DataConfig":
        """Return this config with the values that the training images decide for all splits.

        These values are the channels, the range of pixels and, if ``fit`` is ``crop``, the size. The fingerprint
        of an object in Python is added to its spec.
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
            "image": self.image,
            "pixel_range": self.range,
            "multiple_of": multiple_of,
        }

    def augmentation(self, seed: int) -> Augmentation:
        """Return the augmentation of training images, a function of the run's seed."""
        return Augmentation(self.flip, self.crops, seed)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training loop; the same keys for both stages.

    Attributes:
        steps: number of optimizer steps.
        batch_size: images per optimizer step, over all ranks and micro-batches.
        accumulate: number of micro-batches per optimizer step; batch_size must be a multiple of it.
        learning_rate: largest learning rate, reached at the end of the warmup.
        warmup: number of optimizer steps in which the learning rate rises linearly to its largest value.
        final_rate: learning rate at the last step, as a fraction of ``learning_rate``. After the warmup, the
            learning rate falls to it along a cosine.
        optimizer: ``adamw`` or ``muon``. ``muon`` trains the weights of linear layers and convolutions with Muon
            (arXiv 2502.16982), and all other parameters with AdamW. AdamW always trains the networks of
            ``losses``. A good learning rate for Muon is 1.5 to 2 times AdamW's. ``muon`` does not work with
            ``shard``.
        weight_decay: weight decay, of AdamW and of Muon.
        clip: largest norm of the gradient; a longer gradient is scaled down to this norm. 0 means no limit.
        weight_ema: decay per optimizer step of the exponential moving average of the weights. The averaged weights
            are measured and saved; 0 takes the weights themselves.
        non_finite: what to do when a loss, a gradient or a codebook statistic is NaN or infinite. ``stop`` ends
            the run before anything changes. ``skip`` skips the step. ``back_off`` skips the step and halves the
            learning rate from there on.
        seed: seed of all random numbers.
        precision: precision of the networks. ``auto`` times both at the start and takes bf16 if it is faster,
            otherwise fp32.
        compile: whether to compile the networks with torch.compile. ``auto`` compiles if compilation works and the
            run is long enough to save time by it.
        device: device to train on: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ``auto`` takes CUDA, else
            MPS, else the CPU.
        shard: whether to split weights, gradients, optimizer state and averaged weights over the ranks (FSDP2),
            for models that do not fit on one device. By default, each rank holds all of them.
        log_every: number of optimizer steps between two lines of training metrics in metrics.jsonl.
        evaluate_every: number of optimizer steps between two measurements on validation images, with pictures.
        early_stopping: end the run after this many measurements without a new best; 0 never ends the run early.
            The metric is nmse for a tokenizer and bits_per_code_prior for a prior.
        checkpoint_every: number of optimizer steps between two checkpoints.
        keep: number of newest checkpoints to keep. The model with the best measurement is kept too.
        tracker: programs that also get the metrics, with pictures and histograms: ``tensorboard``, ``trackio``,
            ``wandb``, or several, such as ``tensorboard,wandb``. Each needs the extra of its name.
    """

    __pydantic_config__ = STRICT

    steps: Count = 3000
    batch_size: Count = 256
    accumulate: Count = 1
    learning_rate: Positive = 1e-3
    warmup: CountOrZero = 100
    final_rate: NotNegative = 0.02
    optimizer: Literal["adamw", "muon"] = "adamw"
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
    tracker: Annotated[tuple[Literal["tensorboard", "trackio", "wandb"], ...], BeforeValidator(_separated)] = ()


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Training of a tokenizer.

    Attributes:
        data: the images.
        model: the VQ-VAE.
        beta: weight of the commitment loss (arXiv 1711.00937, equation 3).
        losses: further terms of the objective, such as ``[{kind: l1, weight: 0.1}]``. A key of an entry is named
            by the entry's kind: ``losses.l1.weight``; the second entry of a kind is ``losses.l1-2``. The key adds
            an entry if there is none of the kind.
        revive_until: fraction of the training, from its start, in which dead codes are revived.
        init: the trained tokenizer to start from, a run or a model file; empty to start from random weights. Its
            network and quantizer must fit ``model``; only the number of codes may differ. A larger codebook gets
            copies of the most used codes. A smaller one keeps the most used codes.
        freeze: parts of the tokenizer ``init`` that training does not change. ``encoder,quantizer`` trains
            the decoder alone.
        training: the training loop.
    """

    __pydantic_config__ = STRICT

    stage: Literal["tokenizer"] = "tokenizer"
    data: DataConfig = field(default_factory=DataConfig)
    model: VQVAE.Config = field(default_factory=VQVAE.Config)
    beta: NotNegative = 0.25
    losses: tuple[LossConfig, ...] = ()
    revive_until: Annotated[float, Field(ge=0, le=1)] = 0.8
    init: str = ""
    freeze: Annotated[tuple[Literal["encoder", "quantizer", "decoder"], ...], BeforeValidator(_separated)] = ()
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Training of a prior on the codes of a tokenizer.

    Attributes:
        tokenizer: the tokenizer's run or model file; empty for a prior of codes alone.
        data: the images whose codes are learned, or a store of codes.
        model: the prior's network.
        classes: whether the prior is conditioned on the classes of the images. ``auto`` conditions it if the
            training images have two classes or more.
        class_dropout: probability of hiding an image's class in training. The prior then also learns codes without
            a class, which classifier-free guidance needs.
        init: the trained prior to start from, a run or a model file; empty to start from random weights. It must
            be a prior of the same tokenizer, with the same ``model`` and classes.
        sampling: the model's own settings of sampling. ``vqvae sample`` without such options and the pictures of
            the training draw with them. A prior without classes does not use the guidance.
        training: the training loop.
    """

    __pydantic_config__ = STRICT

    stage: Literal["prior"] = "prior"
    tokenizer: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    model: PriorModelConfig = field(default_factory=PixelCNN.Config)
    classes: bool | Literal["auto"] = "auto"
    class_dropout: Fraction = 0.1
    init: str = ""
    sampling: Controls = PLAIN
    training: TrainingConfig = field(default_factory=TrainingConfig)


RunConfig = TokenizerConfig | PriorConfig
