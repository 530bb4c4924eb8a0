"""Real images in a folder beside the checkout; a test that uses them is skipped where the folder is absent."""

from pathlib import Path

import pytest

CIFAR10, KODAK = (Path(__file__).resolve().parents[2] / "shared" / "data" / name for name in ("cifar10", "kodak"))
needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason="the folder shared/data/cifar10 is absent")
needs_kodak = pytest.mark.skipif(not KODAK.is_dir(), reason="the folder shared/data/kodak is absent")
