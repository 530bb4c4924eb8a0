"""The card of a model file: the description from which the network is built again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vqvae.component import CountOrZero
from vqvae.config import to_mapping
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.priors import Prior, PriorModelConfig
from vqvae.tensors import CodeSpec


@dataclass(frozen=True)
class ModelCard:
    """The description of a model in its file.

    Attributes:
        stage: ``tokenizer`` or ``prior``.
        build: the arguments from which the network is built.
        classes: the names of the training images' classes, by number; empty if there are none, and for a prior
            that was trained without classes.
        image_shape: (C, H, W) of the training images.
        step: number of optimizer steps that the weights were trained for.
        identity: for a tokenizer, the ``code_identity`` of its encoder and quantizer. Its codes belong to it.
        tokenizer: for a prior, the identity of the tokenizer whose codes the prior models.
        validation: for a run's best model, its NMSE (tokenizer) or bits per code (prior) on the validation split.
        trained_with: for a tokenizer, the digests of the feature networks in its losses; see
            ``vqvae.features.networks_in``. None of them judges the tokenizer.
    """

    stage: str
    build: dict[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    identity: str = ""
    tokenizer: str = ""
    validation: float | None = None
    trained_with: tuple[str, ...] = ()


_CARD, _SPEC, _COUNT = TypeAdapter(ModelCard), TypeAdapter(CodeSpec), TypeAdapter(CountOrZero)


def card_from(value: Any, path: Path) -> ModelCard:
    """Check the card in a model file and return it.

    Raises:
        UserError: when it is not a card.
    """
    try:
        return _CARD.validate_python(value)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path}: damaged: its card does not say {key[:80] or 'anything'} as it should") from None


def codes_from(card: ModelCard, path: Path) -> tuple[CodeSpec, int]:
    """Return the spec of the codes that a prior models, and the number of its classes.

    Raises:
        UserError: when the card lacks one of them, or names another number of classes.
    """
    try:
        spec = _SPEC.validate_python(card.build.get("codes"))
        num_classes = _COUNT.validate_python(card.build.get("num_classes"))
    except ValidationError:
        raise UserError(f"{path}: damaged: its card does not describe the codes that it models") from None
    if num_classes != len(card.classes):
        raise UserError(f"{path}: damaged: its card names {len(card.classes)} of {num_classes} classes")
    return spec, num_classes


def tokenizer_card(
    config: VQVAE.Config, *, classes: tuple[str, ...], image_shape: tuple[int, int, int], step: int
) -> ModelCard:
    """Return the card of a tokenizer's file."""
    return ModelCard("tokenizer", {"model": to_mapping(config)}, classes, image_shape, step)


def code_identity(build: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the identity of a tokenizer's encoder and quantizer, a SHA-256 in hexadecimal.

    It is the hash of their settings, and of the name, type, shape and bytes of each of their tensors. Tokenizers
    of one identity give an image the same codes, whatever their decoders are.

    Args:
        build: of the tokenizer's card.
        state: the tokenizer's parameters and buffers, by name.
    """
    model = build["model"]
    found = hashlib.sha256(json.dumps([model["network"], model["quantizer"]], sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        if name.startswith(("encoder.", "quantizer.")):
            found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def prior_card(
    config: PriorModelConfig,
    prior: Prior,
    *,
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    tokenizer: str,
    step: int,
) -> ModelCard:
    """Return the card of a prior's file.

    Args:
        config: of the prior's network.
        prior: the network.
        classes: the classes of the prior's own training images, a name for each of its numbers.
        image_shape: (C, H, W) of these images.
        tokenizer: the identity of the tokenizer whose codes the prior models.
        step: the optimizer steps so far.
    """
    codes = to_mapping(prior.spec)
    build = {"model": to_mapping(config), "codes": codes, "num_classes": prior.num_classes}
    return ModelCard("prior", build, classes, image_shape, step, tokenizer=tokenizer)
