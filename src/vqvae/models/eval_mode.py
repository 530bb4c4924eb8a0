"""Eval mode for a while: a model that somebody trains is measured or saved, and goes on as before."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode; afterwards, each of its modules is in the mode that it had.

    Some modules may have been in eval mode before, such as a frozen encoder.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
