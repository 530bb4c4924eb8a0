"""The classes of samples if no class is asked for: all classes in turn."""

import torch
from torch import Tensor

EACH = 8  # consecutive images of a class: a row of a picture that is eight images wide


def labels_in_turn(rows: range, num_classes: int) -> Tensor | None:
    """Return the classes of some rows of a set of samples, int64 [len(rows)]; None for a prior without classes.

    Row i has the class i // 8 % num_classes, in pictures and in stores.
    """
    return torch.arange(rows.start, rows.stop) // EACH % num_classes if num_classes else None
