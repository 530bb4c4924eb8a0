"""What a run is made of: frozen dataclasses, to and from YAML, overridden key by key."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vqvae import quantizer_config
from vqvae.config_fields import STRICT, Count, CountOrZero, NotNegative, Positive, Share, settings
from vqvae.config_yaml import read_yaml, set_key
from vqvae.errors import UserError, did_you_mean
from vqvae.quantizer_config import EMAQuantizerConfig, QuantizerConfig

if TYPE_CHECKING:
    from vqvae.data import Images, ImageSet, Views
    from vqvae.models import VQVAE, CodeTransformer, PixelCNN

_MEASURED_ROWS = 2048  # held out, by either stage at an evaluation in training


def _height_and_width(value: Any) -> Any:
    """Accept 64 for [64, 64], and "48x64"."""
    if isinstance(value, str) and value.count("x") == 1:
        value = value.split("x")
    return [value, value] if isinstance(value, int | str) else value


@dataclass(frozen=True, kw_only=True, config=STRICT)
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
        strict: whether a file that cannot be decoded stops the run.
        limit: the first so many images of a split only.
        stream: whether training images are read as they are needed, for sets that do not fit into memory.
        lanes: of a stream: how many places of the data a batch is drawn from, each a block of rows at a time. More
            mix better and hold more in memory; ranks share them out.
    """

    spec: str = "shapes"
    size: Annotated[tuple[Count, Count] | None, BeforeValidator(_height_and_width)] = None
    fit: Literal["strict", "crop"] = "strict"
    channels: Literal[1, 3] | None = None
    flip: bool = False
    crops: CountOrZero = 0
    strict: bool = False
    limit: Count | None = None
    stream: bool = False
    lanes: Count = 16

    def training_images(self, multiple_of: int) -> Images:
        """Read the training split into memory, or open it where it is to be read as it is needed."""
        from vqvae.data import open_stream

        if not self.stream:
            return self.load("train", multiple_of=multiple_of)
        return open_stream(self.spec, "train", multiple_of=multiple_of, lanes=self.lanes, **self._reading())

    def heldout_images(self, multiple_of: int) -> ImageSet:
        """Read the test split into memory; of one that may not fit, as much as training measures."""
        limit = min(self.limit or _MEASURED_ROWS, _MEASURED_ROWS) if self.stream else self.limit
        return replace(self, limit=limit).load("test", multiple_of=multiple_of)

    def load(self, split: str, *, multiple_of: int) -> ImageSet:
        """Read a split, ``train`` or ``test``, into memory."""
        from vqvae.data import load

        return load(self.spec, split, multiple_of=multiple_of, **self._reading())

    def _reading(self) -> dict[str, Any]:
        names = ("size", "fit", "channels", "strict", "limit")
        return {name: getattr(self, name) for name in names}

    def views(self, seed: int) -> Views:
        """Return the views of a training image, a function of the run's seed."""
        from vqvae.data import Views

        return Views(self.flip, self.crops, seed)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VQVAEConfig:
    """``vqvae.models.VQVAE``."""

    width: Count = 128
    outer_width: Count = 64
    residual_width: Count = 32
    residual_blocks: CountOrZero = 2
    factor: Literal[2, 4, 8, 16, 32] = 4
    quantizer: QuantizerConfig = Field(default_factory=EMAQuantizerConfig)

    def build(self, *, channels: int, forwards_per_update: int = 1, seed: int = 0) -> VQVAE:
        """Make the tokenizer for images of so many channels."""
        from vqvae.models import VQVAE

        return VQVAE(
            self.quantizer.build(forwards_per_update=forwards_per_update, seed=seed),
            channels=channels,
            width=self.width,
            outer_width=self.outer_width,
            residual_width=self.residual_width,
            residual_blocks=self.residual_blocks,
            factor=self.factor,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PixelCNNConfig:
    """``vqvae.models.PixelCNN``."""

    kind: Literal["pixelcnn"] = "pixelcnn"
    width: Count = 64
    layers: Count = 12
    kernel: Literal[3, 5, 7, 9] = 3
    head_width: Count = 256
    dropout: Share = 0.0

    def build(
        self, *, num_codes: int, codes_per_position: int, grid: tuple[int, int], num_classes: int
    ) -> PixelCNN:
        """Make the prior for codes of that shape."""
        from vqvae.models import PixelCNN

        return PixelCNN(
            num_codes,
            codes_per_position=codes_per_position,
            grid=grid,
            num_classes=num_classes,
            **settings(self),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TransformerConfig:
    """``vqvae.models.CodeTransformer``."""

    kind: Literal["transformer"] = "transformer"
    width: Count = 128
    layers: Count = 6
    heads: Count = 4
    head_width: Count = 256
    dropout: Share = 0.0

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 4 * heads, {4 * self.heads}")

    def build(
        self, *, num_codes: int, codes_per_position: int, grid: tuple[int, int], num_classes: int
    ) -> CodeTransformer:
        """Make the prior for codes of that shape."""
        from vqvae.models import CodeTransformer

        return CodeTransformer(
            num_codes,
            codes_per_position=codes_per_position,
            grid=grid,
            num_classes=num_classes,
            **settings(self),
        )


def _prior_kind(value: Any) -> Any:
    """Return which prior a mapping or a config is; without a word, a PixelCNN."""
    return value.get("kind", "pixelcnn") if isinstance(value, Mapping) else getattr(value, "kind", "pixelcnn")


PriorModelConfig = Annotated[
    Annotated[PixelCNNConfig, Tag("pixelcnn")] | Annotated[TransformerConfig, Tag("transformer")],
    Discriminator(
        _prior_kind, custom_error_type="prior_kind", custom_error_message="kind must be pixelcnn or transformer"
    ),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """The loop, the same for both stages.

    Attributes:
        steps: optimizer steps.
        batch_size: images a step, all micro-batches together.
        accumulate: micro-batches a step.
        learning_rate: at its peak.
        warmup: steps of linear rise to the peak.
        final_rate: the share of the peak that the cosine falls to at the last step.
        weight_decay: of AdamW; 0 is Adam.
        clip: the largest norm of the gradient; 0 for no limit.
        average: decay of the averaged weights that are evaluated and kept.
        non_finite: at a loss, gradient or statistic that is not finite, ``stop`` before anything is changed,
            ``skip`` the step, or ``back_off``: skip it and halve the learning rate from there on.
        seed: of everything random.
        precision: ``auto`` is bf16 where a measurement at the start finds it faster, else fp32.
        compile: ``auto`` compiles where it works and the run is long enough to gain.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        log_every: steps between lines of metrics.
        evaluate_every: steps between held-out measurements and pictures.
        patience: held-out measurements without a new best that end the run; 0 for none. What judges is
            bits_per_code of a prior and nmse of a tokenizer.
        checkpoint_every: steps between checkpoints.
        keep: checkpoints kept, the newest ones; the model that measured best is kept too.
        tensorboard: whether to write TensorBoard events beside the JSON lines.
    """

    steps: Count = 3000
    batch_size: Count = 256
    accumulate: Count = 1
    learning_rate: Positive = 1e-3
    warmup: CountOrZero = 100
    final_rate: NotNegative = 0.02
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0
    average: Share = 0.999
    non_finite: Literal["stop", "skip", "back_off"] = "stop"
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    device: str = "auto"
    log_every: Count = 50
    evaluate_every: Count = 500
    patience: CountOrZero = 0
    checkpoint_every: Count = 500
    keep: Count = 2
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TokenizerConfig:
    """A tokenizer's training.

    Attributes:
        beta: the weight of the commitment term (arXiv 1711.00937, equation 3).
        revive_until: the share of the training after which dead codes are left alone, so that the codebook
            settles.
    """

    stage: Literal["tokenizer"] = "tokenizer"
    data: DataConfig = Field(default_factory=DataConfig)
    model: VQVAEConfig = Field(default_factory=VQVAEConfig)
    beta: NotNegative = 0.25
    revive_until: Annotated[float, Field(ge=0, le=1)] = 0.8
    training: TrainingConfig = Field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PriorConfig:
    """A prior's training over the codes of a tokenizer.

    Attributes:
        tokenizer: the tokenizer's run.
        data: the images whose codes are learned.
        classes: whether the prior is conditioned on the labels.
        class_dropout: the share of labels hidden in training, so that it also learns codes without a class.
    """

    stage: Literal["prior"] = "prior"
    tokenizer: str = ""
    data: DataConfig = Field(default_factory=DataConfig)
    model: PriorModelConfig = Field(default_factory=PixelCNNConfig)
    classes: bool = False
    class_dropout: Share = 0.1
    training: TrainingConfig = Field(default_factory=TrainingConfig)


RunConfig = TokenizerConfig | PriorConfig
_ADAPTER: TypeAdapter[RunConfig] = TypeAdapter(Annotated[RunConfig, Field(discriminator="stage")])


def recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    folder = Path(str(resources.files("vqvae") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(
    name: str,
    stage: str,
    overrides: Mapping[str, str] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a recipe by name or a YAML file by path, and apply overrides ``{"a.b": "VALUE"}`` in YAML's notation.

    Args:
        name: of a shipped recipe, or a path that ends in .yaml.
        stage: ``tokenizer`` or ``prior``.
        overrides: values by dotted key.
        base: the data's values where the recipe is silent.

    Raises:
        UserError: for a missing file, a file that is not a YAML mapping, another stage, an unknown key or a
            value out of its range, naming the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else recipes().get(name)
    if path is None:
        raise UserError(f"recipe '{name}'{did_you_mean(name, recipes())}; or give the path of a .yaml file")
    if not path.is_file():
        raise UserError(f"recipe {path}: no such file; the shipped ones: {', '.join(recipes())}")
    values = read_yaml(path)
    values.setdefault("stage", stage)
    if base is not None:
        own = values.get("data") or {}
        values["data"] = {**base, **own} if isinstance(own, dict) else own
    # a kind first: it says which of the recipe's settings stay, and the other overrides are for it
    for key, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith(".kind")):
        set_key(values, key, value, kinds=_kinds())
    if values["stage"] != stage:
        command = "train" if values["stage"] == "tokenizer" else "prior"
        raise UserError(f"recipe '{name}' is for stage '{values['stage']}': use vqvae {command}")
    return config_from(values, name)


def config_from(values: Mapping[str, Any], where: str) -> RunConfig:
    """Check a mapping and make the config of it; ``where`` begins the error line."""
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_line(error)}") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain values, as YAML and JSON hold them."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def to_yaml(config: RunConfig) -> str:
    """Return a config as YAML that ``load_config`` reads back."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    # the tags of unions ('tokenizer', 'ema') stand in pydantic's path, but in no YAML file
    tags = {"tokenizer", "prior", "pixelcnn", "transformer", *_kinds()}
    *groups, last = [str(part) for part in first["loc"]] or ["config"]
    path = [part for part in groups if part not in tags] + [last]
    key = ".".join(path[1:] if path[0] in tags else path)[:100]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key '{key}'{did_you_mean(path[-1], _known_keys())}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{key}: {message}, got {_shown(first['input'])}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else text[:100] + "..."


def _configs() -> list[Any]:
    found = {**vars(quantizer_config), **vars(sys.modules[__name__])}
    return [kind for name, kind in found.items() if name.endswith("Config") and is_dataclass(kind)]


def _known_keys() -> list[str]:
    return [field.name for config in _configs() for field in fields(config)]


def _kinds() -> dict[str, set[str]]:
    """Return the keys of each kind by its name."""
    keys = [{field.name: field for field in fields(config)} for config in _configs()]
    return {str(found["kind"].default): set(found) for found in keys if "kind" in found}
