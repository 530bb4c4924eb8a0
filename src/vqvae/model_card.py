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
        classes: the names of the classes; empty if there are none.
        image_shape: (C, H, W) of the training images.
        step: number of optimizer steps that the weights were trained for.
        identity: for a tokenizer, the ``code_identity`` of its encoder and quantizer. Its codes belong to it.
        tokenizer: for a prior, the identity of the tokenizer whose codes the prior models.
        validation: for a run's best model, its NMSE (tokenizer) or bits per code (prior) on the validation split.
    """

    stage: str
    build: dict[str, Any]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    step: int
    identity: str = ""
    tokenizer: str = ""
    validation: float | None = None


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
        UserError: when the card lacks one of them.
    """
    try:
        spec = _SPEC.validate_python(card.build.get("codes"))
        return spec, _COUNT.validate_python(card.build.get("num_classes"))
    except ValidationError:
        raise UserError(f"{path}: damaged: its card does not describe the codes that it models") from None


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


def prior_card(config: PriorModelConfig, prior: Prior, tokenizer: ModelCard, step: int) -> ModelCard:
    """Return the card of a prior's file.

    Args:
        config: of the prior's network.
        prior: the network.
        tokenizer: the card of the tokenizer whose codes the prior models.
        step: the optimizer steps so far.
    """
    codes = to_mapping(prior.spec)
    build = {"model": to_mapping(config), "codes": codes, "num_classes": prior.num_classes}
    return ModelCard("prior", build, tokenizer.classes, tokenizer.image_shape, step, tokenizer=tokenizer.identity)
