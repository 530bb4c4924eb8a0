"""Which class each sample of a set has, where all classes take turns."""

import torch
from torch import Tensor

EACH = 8  # images of a class before the next one's turn: a row of a picture that is eight images wide


def labels_in_turn(rows: range, num_classes: int) -> Tensor | None:
    """Return the classes of some rows of a set, int64 [len(rows)]; None for a prior without classes.

    Row i has class i // 8 % num_classes, in a picture and in a store alike.
    """
    return torch.arange(rows.start, rows.stop) // EACH % num_classes if num_classes else None
