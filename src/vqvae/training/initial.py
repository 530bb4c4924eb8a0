"""A training that starts from a trained model: what is taken over, what is new, and what does not fit."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqvae.config import PriorConfig, RunConfig, TokenizerConfig, config_from, to_mapping
from vqvae.data import Images
from vqvae.distributed import broadcast, rank
from vqvae.errors import UserError
from vqvae.model_io import ModelFile, build_tokenizer, open_prior, open_tokenizer
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.quantizers.resize import counting, resize
from vqvae.screen import say
from vqvae.tensors import images_from_pixels

COUNTED_ROWS = 2048  # training images whose codes say which codes are the most used
_BATCH = 256
_SIZES = ("num_codes", "codebook_sizes")  # keys of a quantizer that may differ


def check_start(config: RunConfig) -> None:
    """Check what does not depend on files.

    Raises:
        UserError: when parts are frozen without a model to start from, or batches do not divide evenly.
    """
    training = config.training
    if training.batch_size % training.accumulate:
        raise UserError(
            f"training.batch_size {training.batch_size} is not a multiple of training.accumulate "
            f"{training.accumulate}"
        )
    if isinstance(config, TokenizerConfig) and config.freeze and not config.init:
        named = ",".join(config.freeze)
        raise UserError(f"freeze {named}: only parts of a trained tokenizer can be frozen: add --init RUN")


def freeze(tokenizer: VQVAE, parts: Sequence[str]) -> tuple[nn.Module, ...]:
    """Freeze parts of a tokenizer: no gradient, no statistics.

    Return their modules, which must stay in eval mode. The likelihood's weights belong to the decoder.

    Raises:
        UserError: when no parameter is left to train.
    """
    modules = [cast(nn.Module, getattr(tokenizer, part)) for part in dict.fromkeys(parts)]
    modules += [tokenizer.likelihood] if "decoder" in parts else []
    for module in modules:
        module.requires_grad_(False).eval()
    if not any(parameter.requires_grad for parameter in tokenizer.parameters()):
        raise UserError(f"freeze {','.join(parts)}: no parameter is left to train")
    return tuple(modules)


def start_tokenizer(tokenizer: VQVAE, file: ModelFile, config: TokenizerConfig, train: Images) -> None:
    """Give a new tokenizer the weights of a trained one, and print a line that says what was taken over.

    Args:
        tokenizer: that ``config`` builds, on the CPU; changed in place.
        file: of the trained tokenizer.
        config: of the new run.
        train: the new run's training images. The most used codes are those of the first of these images.

    Raises:
        UserError: when the trained tokenizer does not fit; the message names the key.
    """
    old = open_tokenizer(file).model
    before = config_from({"stage": "tokenizer", **file.card.build}, str(file.path))
    assert isinstance(before, TokenizerConfig)
    if old.channels != tokenizer.channels:
        raise UserError(
            f"{file.path}: for images of {old.channels} channels, not {tokenizer.channels}: "
            f"set --data.channels {old.channels}"
        )
    _check_fit(old, file, before.model, config)
    new: list[str] = []
    state = old.state_dict()
    if before.model.likelihood != config.model.likelihood:
        state = _without(state, "likelihood.") | tokenizer.likelihood.state_dict(prefix="likelihood.")
        new.append("the likelihood")
    if _sized_otherwise(before.model, config.model):
        _resize(tokenizer, old, file, train)
        state |= tokenizer.quantizer.state_dict(prefix="quantizer.")
        rule = "copies of the most used" if tokenizer.num_codes > old.num_codes else "the most used are kept"
        new.append(f"{old.num_codes} -> {tokenizer.num_codes} codes ({rule})")
    tokenizer.load_state_dict(state)
    _tell(file, new, config.freeze)


def start_prior(prior: Prior, file: ModelFile, config: PriorConfig, tokenizer_identity: str) -> None:
    """Give a new prior the weights of a trained one, and print a line that says so.

    Args:
        prior: that ``config`` builds, on the CPU; changed in place.
        file: of the trained prior.
        config: of the new run.
        tokenizer_identity: of the tokenizer whose codes the new run learns.

    Raises:
        UserError: when the trained prior does not fit; the message names the key.
    """
    old = open_prior(file).model
    if file.card.tokenizer != tokenizer_identity:
        raise UserError(f"{file.path}: a prior of another tokenizer's codes: train its codes with a new prior")
    if old.num_classes != prior.num_classes:
        raise UserError(f"{file.path}: knows {old.num_classes} classes, not {prior.num_classes}: see --classes")
    before = config_from({"stage": "prior", "model": file.card.build.get("model")}, str(file.path))
    codes = torch.zeros(1, *prior.spec.shape, dtype=torch.int64)

    def outcome(model: Mapping[str, Any]) -> list[Tensor]:
        built = config_from({"stage": "prior", "model": model}, "")
        assert isinstance(built, PriorConfig)
        other = built.model.build(prior.spec, num_classes=prior.num_classes)
        other.load_state_dict(old.state_dict())
        return [other.eval()(codes)]

    then, now = to_mapping(before)["model"], to_mapping(config)["model"]
    try:
        outcome(then)
    except RuntimeError:
        grids = ", not ".join(f"{'x'.join(map(str, model.spec.grid))} codes" for model in (old, prior))
        raise UserError(f"{file.path}: its weights are for images of {grids}: set --data.size") from None
    _refuse_difference(file.path, then, now, outcome)
    prior.load_state_dict(old.state_dict())
    _tell(file, [], ())


def _check_fit(old: VQVAE, file: ModelFile, before: VQVAE.Config, config: TokenizerConfig) -> None:
    """Refuse another network, quantizer or size of the decoder's output; numbers of codes may differ."""
    then, now = to_mapping(before), to_mapping(config.model)
    frozen = {"encoder", "quantizer"} & set(config.freeze)
    for key, was, value in _differences(then, now):
        sizes = key.rpartition(".")[2] in _SIZES
        if frozen and key.startswith(("network.", "quantizer.")) and ("quantizer" in frozen or not sizes):
            raise UserError(
                f"{file.path}: its model.{key} is {_text(was)}, not {_text(value)}, and a frozen part stays as it "
                f"is: set --model.{key} {_text(was)}"
            )
    images = torch.rand((2, *file.card.image_shape), generator=torch.Generator().manual_seed(0)) * 2 - 1

    def outcome(model: Mapping[str, Any]) -> list[Tensor]:
        built = config_from({"stage": "tokenizer", "model": model}, "")
        assert isinstance(built, TokenizerConfig)
        other = build_tokenizer(built.model, channels=old.channels)
        own = other.likelihood.state_dict(prefix="likelihood.")
        other.load_state_dict(_without(old.state_dict(), "likelihood.") | own)
        return [other.eval().encoder(images), *other.quantizer(other.encoder(images))[:2], other(images)[0]]

    _refuse_difference(file.path, then, now, outcome)


@torch.no_grad()
def _refuse_difference(
    path: Path, before: Mapping[str, Any], after: Mapping[str, Any], outcome: Callable[[Any], list[Tensor]]
) -> None:
    """Refuse a key of the model that changes what the trained weights compute, or does not fit them.

    Args:
        path: of the trained model.
        before: the trained model's config.
        after: the new one.
        outcome: builds the model of a config, loads the weights, and returns what it computes.
    """
    expected: list[Tensor] | None = None
    for key, was, value in _differences(before, after):
        if key.rpartition(".")[2] in _SIZES:
            continue
        expected = outcome(before) if expected is None else expected
        try:
            found = outcome(_with(before, key, value))
            fits = all(map(torch.equal, expected, found))
        except (RuntimeError, ValueError, KeyError, UserError):
            fits = False
        if not fits:
            raise UserError(
                f"{path}: its model.{key} is {_text(was)}, not {_text(value)}: its weights do not fit; "
                f"set --model.{key} {_text(was)}, or train without --init"
            )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys that differ, dotted, with both values; of a group of another kind, the kind alone."""
    for key in sorted({*before, *after}, key=lambda key: (key != "kind", key)):
        was, value = before.get(key), after.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            inner = _differences(cast(dict[str, Any], was), cast(dict[str, Any], value))
            yield from ((f"{key}.{name}", then, now) for name, then, now in inner)
        elif was != value:
            yield key, was, value
            if key == "kind":
                return


def _with(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return nested values with one of them changed; a group of another kind has that kind's defaults."""
    changed = copy.deepcopy(dict(values))
    *groups, last = key.split(".")
    inner = changed
    for group in groups:
        inner = inner[group]
    if last == "kind":
        inner.clear()
    inner[last] = value
    return changed


def _without(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}


def _sized_otherwise(before: VQVAE.Config, after: VQVAE.Config) -> bool:
    found = _differences(to_mapping(before.quantizer), to_mapping(after.quantizer))
    return any(key.rpartition(".")[2] in _SIZES for key, _, _ in found)


@torch.no_grad()
def _resize(tokenizer: VQVAE, old: VQVAE, file: ModelFile, train: Images) -> None:
    with counting(old.quantizer) as counts:
        for pixels in train.some(COUNTED_ROWS).split(_BATCH):
            old.quantizer(old.encoder(images_from_pixels(pixels)))
    # rank 0's, since another machine may round near-ties otherwise
    agreed = json.loads(broadcast(json.dumps({name: count.tolist() for name, count in counts.items()})))
    try:
        resize(tokenizer.quantizer, old.quantizer, {name: torch.tensor(count) for name, count in agreed.items()})
    except ValueError as error:
        raise UserError(f"{file.path}: model.quantizer: {error}") from None


def _tell(file: ModelFile, new: Sequence[str], frozen: Sequence[str]) -> None:
    if rank() == 0:
        line = f"starts from {file.path}, step {file.card.step}: its weights are taken over; new: "
        line += ", ".join([*new, "optimizer", "schedule", "data"])
        say(line + (f"; frozen: {', '.join(dict.fromkeys(frozen))}" if frozen else ""))


def _text(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value
