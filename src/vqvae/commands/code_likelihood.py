"""Measure the likelihood of stored codes under a prior; no image and no tokenizer is needed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log2
from typing import Any

import torch
from torch import Tensor

from vqvae.commands.resolve import class_named, numbers_by_name
from vqvae.errors import UserError
from vqvae.metrics.bits import bits
from vqvae.metrics.typicality import typicality
from vqvae.model_io import Opened
from vqvae.priors import Prior
from vqvae.progress import Progress, advancing, silent
from vqvae.screen import say
from vqvae.tokens import Store

_BATCH = 256


@dataclass(frozen=True)
class CodeLikelihoods:
    """The likelihood of the images of a store under a prior.

    Attributes:
        store: the store.
        images: number of images.
        nats: -log p of the codes of each image.
        mean_nats: their mean.
        bits_per_code_prior: their mean in bits per code.
        bits_per_code_uniform: log2 of the number of codes.
        classes: whether each image was measured given its class.
        typicality: in (0, 1], of each image: the fraction of reference images at least as far from their mean
            nats; None without a reference.
        reference: the store of the reference images, or None.
    """

    store: str
    images: int
    nats: tuple[float, ...]
    mean_nats: float
    bits_per_code_prior: float
    bits_per_code_uniform: float
    classes: bool
    typicality: tuple[float, ...] | None
    reference: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return asdict(self)

    def table(self) -> str:
        """Return the figures of the whole store as aligned lines."""
        given = "given their classes" if self.classes else "without classes"
        lines = [
            f"{self.images:,} images of {self.store}, {given}",
            f"{'nats per image':24}{self.mean_nats:10.2f}",
            f"{'bits per code':24}{self.bits_per_code_prior:10.4f}   (uniform: {self.bits_per_code_uniform:.4g})",
        ]
        if self.typicality is not None:
            rare = sum(usual < 0.05 for usual in self.typicality)  # 5 % of the reference images themselves
            lines.append(f"{'typicality below 0.05':24}{rare:10,}   images, against {self.reference}")
        return "\n".join(lines)


def code_likelihood(
    prior: Opened[Prior],
    store: str,
    *,
    reference: str | None = None,
    label: str | None = None,
    progress: Progress = silent,
) -> CodeLikelihoods:
    """Measure all images of a store under a prior.

    Args:
        prior: the prior.
        store: the store of codes.
        reference: a store whose images say which likelihoods are typical; None measures no typicality.
        label: a class's name or number, of all images; None takes the classes of the store, if both have some.
        progress: called with the number of images measured and of all images.

    Raises:
        UserError: for a store of another tokenizer's codes, and classes that the prior was not trained on.
    """
    opened = [_fitting(prior, path) for path in (store, reference) if path is not None]
    advance = advancing(progress, sum(each.header.rows for each in opened))
    found: list[Tensor] = []
    classes = False
    for each in opened:
        numbers = _numbers(prior, each, label)
        classes = classes or numbers is not None
        parts = list(_measured(prior.model, each, numbers))
        advance(each.header.rows)
        found.append(torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64))
        if not len(found[-1]):
            raise UserError(f"{each.path}: holds no codes")
    nats, codes = found[0], prior.model.spec.codes_per_image
    mean = float(nats.mean())
    return CodeLikelihoods(
        store=store,
        images=len(nats),
        nats=tuple(nats.tolist()),
        mean_nats=mean,
        bits_per_code_prior=bits(mean) / codes,
        bits_per_code_uniform=log2(prior.model.spec.num_codes),
        classes=classes,
        typicality=tuple(typicality(nats, found[1]).tolist()) if len(found) == 2 else None,
        reference=reference,
    )


def _fitting(prior: Opened[Prior], path: str) -> Store:
    store = Store.open(path)
    header, spec = store.header, prior.model.spec
    if header.tokenizer != prior.card.tokenizer:
        raise UserError(f"{path}: codes of another tokenizer than those that {prior.path} models")
    if (header.shape, header.num_codes) != (spec.shape, spec.num_codes):
        wanted, has = ("x".join(map(str, shape)) for shape in (spec.shape, header.shape))
        raise UserError(f"{path}: images of {has} codes, but {prior.path} models images of {wanted} codes")
    return store


def _numbers(prior: Opened[Prior], store: Store, label: str | None) -> Sequence[int] | int | None:
    """Return the prior's class of all images, its class for each class of the store, or None."""
    if label is not None:
        return class_named(label, prior)
    if not prior.card.classes:
        return None
    if not store.header.labelled:
        say(f"{store.path}: its images have no classes: they are measured without")
        return None
    return numbers_by_name(store.header.classes, prior)


@torch.no_grad()
def _measured(prior: Prior, store: Store, numbers: Sequence[int] | int | None) -> Iterator[Tensor]:
    """Yield the nats of the images of a store, float64 [B], batch by batch."""
    device = next(prior.parameters()).device
    for shard in store.shards():
        for rows in torch.arange(len(shard.rows)).split(_BATCH):
            labels = None
            if isinstance(numbers, int):
                labels = torch.full((len(rows),), numbers)
            elif numbers is not None and shard.labels is not None:
                labels = torch.tensor(numbers)[shard.labels[rows]]
                _check_known(labels, shard.labels[rows], store)
            codes = shard.codes[rows].long().to(device)
            given = None if labels is None else labels.to(device)
            yield -prior.log_prob(codes, given).double().cpu()


def _check_known(labels: Tensor, own: Tensor, store: Store) -> None:
    if bool((labels < 0).any()):
        other = store.header.classes[int(own[labels < 0][0])]
        raise UserError(
            f"{store.path}: the prior was not trained on the class '{other}'; classes are matched by name"
        )
