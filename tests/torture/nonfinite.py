"""NaN injected into loss, gradient and statistics, at random steps of both stages: none ever reaches a file."""

import random
from collections.abc import Callable
from typing import Any

import torch
from tests.torture._trials import STEPS, TwoStages, scratch

from vqvae.files import read_records
from vqvae.quantizers.tracker import CodebookTracker
from vqvae.training.loop import Trainer
from vqvae.training.stage import StepLosses

COUNT = 20  # injections into each of the three
HOW = ("stop", "skip", "back_off")


def check(count: int, seed: int) -> str:
    draw, ends, files = random.Random(seed), {"stopped": 0, "went on": 0}, 0
    with scratch() as folder:
        tokenizer = TwoStages(folder / "whole")
        assert tokenizer.start(0).wait() == 0
        for what in (_loss, _gradient, _statistic):
            for number in range(count):
                stages = TwoStages(folder / f"{what.__name__}-{number}")
                stage = number % 2 if what is not _statistic else 0
                if stage == 1:
                    stages.runs[0] = tokenizer.runs[0]
                step, how, choice = draw.randrange(STEPS), HOW[number % 3], draw.randrange(1 << 16)
                trial = stages.start(
                    stage,
                    *("--training.non_finite", how),
                    before=lambda what=what, step=step, choice=choice: what(step, choice),
                )
                code, told = trial.wait(), f"{what.__name__} at step {step + 1}, {how}"
                files += stages.check_files()
                dropped = [r.get("dropped", 0) for r in read_records(stages.runs[stage] / "metrics.jsonl")]
                if code == 0:
                    assert how != "stop" and max(dropped) == 1, f"{told}: {trial.output}"
                    ends["went on"] += 1
                else:
                    assert code == 2 and "finite" in trial.complaint(), f"{told}: exit {code}: {trial.output}"
                    assert how == "stop" or what is _statistic, f"{told}: {trial.output}"
                    ends["stopped"] += 1
    return (
        f"{3 * count} NaNs, {count} each into loss, gradient and statistics: {ends['stopped']} runs stopped with "
        f"one line, {ends['went on']} dropped the step and went on; 0 of {files} files of tensors hold one"
    )


def _at(step: int, inject: Callable[[Trainer], Any]) -> None:
    """In this process, inject while the step's gradients are made."""
    gradients = Trainer._gradients

    def injected(trainer: Trainer) -> Any:
        if trainer.step != step:
            return gradients(trainer)
        undo = inject(trainer)
        found = gradients(trainer)
        undo()
        return found

    Trainer._gradients = injected


def _loss(step: int, choice: int) -> None:
    def inject(trainer: Trainer) -> Callable[[], None]:
        losses = trainer.stage.losses

        def broken(*batch: Any) -> Any:
            by_group, metrics = losses(*batch)
            return StepLosses({name: loss * torch.nan for name, loss in by_group.items()}, metrics)

        trainer.stage.losses = broken
        return lambda: setattr(trainer.stage, "losses", losses)

    _at(step, inject)


def _gradient(step: int, choice: int) -> None:
    def inject(trainer: Trainer) -> Callable[[], None]:
        model = trainer.groups["model"].module
        weights = [p for name, p in model.named_parameters() if name.startswith(("encoder", "decoder"))]
        weights = weights or list(model.parameters())
        weight = weights[choice % len(weights)]

        def broken(gradient: torch.Tensor) -> torch.Tensor:
            gradient = gradient.clone()
            gradient[(0,) * gradient.dim()] = torch.nan
            return gradient

        return weight.register_hook(broken).remove

    _at(step, inject)


def _statistic(step: int, choice: int) -> None:
    """Break what a batch noted for the codebook, or one of the codebook's own running means."""

    def inject(trainer: Trainer) -> Callable[[], None]:
        quantizer = trainer.groups["model"].module.quantizer
        if choice % 2:
            name = ("sums", "counts", "codebook")[choice // 2 % 3]
            return lambda: getattr(quantizer, name).view(-1)[choice % 7].fill_(torch.nan)

        def broken() -> None:
            for part in quantizer.modules():
                if isinstance(part, CodebookTracker):
                    part.noted()[0][0, 0] = torch.nan

        return broken

    _at(step, inject)
