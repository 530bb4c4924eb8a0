"""The package from Python: every public name does what the command of its name does, and is found by looking."""

import inspect
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqvae
from vqvae.config import TokenizerConfig, load_config
from vqvae.models import VQVAE
from vqvae.quantizers import FSQ
from vqvae.training import Run

TINY: dict[str, Any] = {
    "steps": 4,
    "device": "cpu",
    "precision": "fp32",
    "training__batch_size": 8,
    "training__checkpoint_every": 2,
    "training__compile": False,
    **{"data.limit": 64, "model.width": 8, "model.outer_width": 8, "model.residual_width": 4},
}
PRIOR = {**{key: value for key, value in TINY.items() if not key.startswith("model.")}, "model.layers": 2}


def test_dir_lists_the_public_names_and_every_one_is_there() -> None:
    assert dir(vqvae) == sorted(vqvae.__all__)
    for name in set(dir(vqvae)) - {"__version__"}:
        assert inspect.getdoc(getattr(vqvae, name)), name
    shown = [name for name in vars(vqvae) if not name.startswith("_") and not inspect.ismodule(vars(vqvae)[name])]
    assert set(shown) <= set(vqvae.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'; it has UserError, "):
        vqvae.trian  # pyright: ignore[reportAttributeAccessIssue] # noqa: B018


def test_import_is_light() -> None:
    script = (
        "import sys, vqvae; dir(vqvae); vqvae.UserError\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pyarrow', 'pydantic', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_names_that_checkers_see_are_those_that_are_there() -> None:
    text = Path(inspect.getfile(vqvae)).read_text()
    for name in set(vqvae.__all__) - {"__version__"}:
        assert f" as {name}\n" in text, f"{name} is lazy, but typed nowhere"


def test_a_recipe_is_a_name_a_path_a_mapping_or_a_config(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("beta: 0.5\n")
    config = load_config({"beta": 0.5}, "tokenizer")
    assert isinstance(config, TokenizerConfig)
    for recipe in (tmp_path / "my.yaml", str(tmp_path / "my.yaml"), {"beta": 0.5}, config):
        made = load_config(recipe, "tokenizer", {"training": {"steps": 7}, "model.quantizer.kind": "fsq"})
        assert isinstance(made, TokenizerConfig)
        assert (made.beta, made.training.steps, made.model.quantizer.kind) == (0.5, 7, "fsq")
    assert config.training.steps == TokenizerConfig().training.steps


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQVAE_CACHE", str(folder / "cache"))
        tokenizer = vqvae.train("shapes", out=folder / "t", **TINY)
        prior = vqvae.train_prior(tokenizer, "shapes-prior", out=folder / "p", **PRIOR)
    return tokenizer, prior


def test_both_stages_are_trained_measured_and_drawn_from(runs: tuple[Run, Run]) -> None:
    tokenizer, prior = runs
    results = vqvae.evaluate(prior, "shapes", data__limit=32)
    assert results.to_dict()["images"] == 32
    loaded = vqvae.load_tokenizer(tokenizer)
    alone = vqvae.evaluate(loaded, "shapes", data__limit=32)
    assert alone.to_dict()["nmse"] == results.to_dict()["nmse"]
    assert vqvae.load_prior(prior).num_classes == 8
    picture = vqvae.sample(prior, 8, label="star", seed=3)
    assert picture.tobytes() == vqvae.sample(prior.path, 8, label=3, seed=3).tobytes()
    assert picture._repr_png_()[:4] == b"\x89PNG"


def test_a_run_stands_where_a_path_may_and_shows_its_newest_picture(runs: tuple[Run, Run]) -> None:
    tokenizer, prior = runs
    assert Path(tokenizer) == tokenizer.path
    for run in (tokenizer, prior):
        png = run._repr_png_()
        assert png is not None and png[:4] == b"\x89PNG"


def test_resume_trains_longer_as_the_command_does(runs: tuple[Run, Run]) -> None:
    run = vqvae.resume(runs[0], steps=6, training__learning_rate=1e-4)
    assert run.read_config().training.steps == 6 and run.changes.exists()


def test_an_array_is_trained_on_resumed_and_measured(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    run = vqvae.train("shapes", data=pixels, out=tmp_path / "run", **TINY)
    assert vqvae.resume(run, data=pixels, steps=6).read_config().training.steps == 6
    results = vqvae.evaluate(run, pixels)
    assert results.to_dict()["images"] == 48
    assert vqvae.evaluate(vqvae.load_tokenizer(run.path), pixels).to_dict()["nmse"] == results.to_dict()["nmse"]
    assert len(vqvae.load_images(pixels)) == 48


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: vqvae.train("shpes"), "no recipe 'shpes'; did you mean 'shapes'?"),
        (
            lambda: vqvae.train("shapes", batch_size=8),
            "unknown key 'batch_size'; did you mean 'training.batch_size'?",
        ),
        (lambda: vqvae.train("shapes", steps=0), "training.steps: must be an integer above 0, got 0"),
        (lambda: vqvae.train("shapes", steps=1, training__steps=2), "it is short for training.steps"),
        (lambda: vqvae.train({"stage": "prior"}), "use vqvae prior"),
        (lambda: vqvae.train("shapes", data="/no/such"), "/no/such"),
        (lambda: vqvae.train_prior("/no/run"), "/no/run: no such run directory or model file"),
        (lambda: vqvae.train_prior(torch.nn.Linear(1, 1)), "Linear: expected a tokenizer or its path"),  # pyright: ignore[reportArgumentType]
        (lambda: vqvae.resume("/no/run"), "/no/run: no such run directory"),
        (lambda: vqvae.evaluate("/no/run", "shapes"), "/no/run: no such run directory"),
    ],
)
def test_a_mistake_is_a_user_error_of_one_line(call: Any, says: str) -> None:
    with pytest.raises(vqvae.UserError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("data", ["shapes", "/no/such"])
def test_evaluate_leaves_the_modes_of_the_modules_as_they_were(data: str) -> None:
    model = VQVAE(FSQ((4, 4)), width=8, outer_width=8, residual_width=4)
    model.decoder.eval()
    modes = [module.training for module in model.modules()]
    with nullcontext() if data == "shapes" else pytest.raises(vqvae.UserError):
        vqvae.evaluate(model, data, data__limit=2)
    assert [module.training for module in model.modules()] == modes


def test_evaluate_says_so_of_a_model_whose_pixel_variance_was_never_estimated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = VQVAE(FSQ((4, 4)), width=8, outer_width=8, residual_width=4)
    line = "the model's pixel_variance was never estimated"
    vqvae.evaluate(model, "shapes", data__limit=2)
    assert line in capsys.readouterr().err
    model.pixel_variance.fill_(0.5)
    vqvae.evaluate(model, "shapes", data__limit=2)
    assert line not in capsys.readouterr().err
