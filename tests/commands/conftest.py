"""Models and images of the tests of compressed files and of comparisons."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vqvae.data import load
from vqvae.training import Run


@pytest.fixture(scope="session")
def mixture_runs(
    train_tokenizer: Any, train_prior: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """A tokenizer with a mixture of logistics, and a prior over its codes."""
    folder = tmp_path_factory.mktemp("mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQVAE_CACHE", str(folder / "cache"))
        tokenizer = train_tokenizer(folder / "tokenizer", model__likelihood__kind="logistic-mixture")
        return tokenizer, train_prior(folder / "prior", tokenizer)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Image files of two sizes, among them two of one name."""
    pixels = load("shapes", "test", limit=5).pixels.permute(0, 2, 3, 1).numpy()
    paths = [tmp_path / name for name in ("a.png", "b c.png", "d/a.png", "wide.png", "e.bmp")]
    (tmp_path / "d").mkdir()
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image[:, :24] if path.stem == "wide" else image).save(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Write the first 40 test images of shapes to a folder and return its path."""
    pixels = load("shapes", "test", limit=40).pixels.permute(0, 2, 3, 1).numpy()
    made: dict[str, str] = {}

    def write(name: str, ending: str, *, called: Callable[[int], str] = "{:04d}".format, **options) -> str:
        if name not in made:
            folder = tmp_path_factory.mktemp("sets") / name
            folder.mkdir()
            for row, image in enumerate(pixels):
                Image.fromarray(image).save(folder / f"{called(row)}.{ending}", **options)
            made[name] = str(folder)
        return made[name]

    return write
