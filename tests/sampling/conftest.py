"""Untrained priors that are decided enough for the codes before to matter."""

import pytest
import torch

from vqvae.priors import CodeTransformer, PixelCNN

SHAPE = {"codes_per_position": 2, "grid": (4, 3), "num_classes": 3}


@pytest.fixture(scope="session", params=["pixelcnn", "transformer"])
def any_prior(request):
    torch.manual_seed(0)
    if request.param == "pixelcnn":
        model = PixelCNN(12, **SHAPE, width=16, layers=4, head_width=32)
    else:
        model = CodeTransformer(12, **SHAPE, width=16, layers=2, heads=2, head_width=32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model.eval()
