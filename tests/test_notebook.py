"""The package in a notebook: bars without warnings, pictures as pictures."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

CELLS = [
    """
import numpy as np
import vqvae
pixels = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
tiny = {"model.width": 8, "model.outer_width": 8, "model.residual_width": 4, "model.residual_blocks": 1}
loop = dict(steps=5, device="cpu", precision="fp32", training__batch_size=8, training__compile=False)
run = vqvae.train("shapes", data=pixels, out="t", **loop, **tiny)
run
""",
    """
prior = vqvae.train_prior(run, "shapes-prior", data=pixels, out="p", classes=False, **loop, **{"model.layers": 2})
vqvae.sample(prior, 8)
""",
    "vqvae.evaluate(prior, pixels)",
    "vqvae.train('shpes')",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Run the cells; return what each printed and showed."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own packages
        patch.setenv("VQVAE_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent / "src")]))
        nbclient.NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    return [cell.outputs for cell in notebook.cells]


def _text(outputs: list[Any], name: str) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == name)


def test_training_shows_a_bar_and_the_run_its_pictures(outputs: list[list[Any]]) -> None:
    shown = _text(outputs[0], "stderr")
    assert "5/5" in shown and "step" in shown
    assert "Warning" not in shown and "IProgress" not in shown
    [result] = [output for output in outputs[0] if output.output_type == "execute_result"]
    assert "image/png" in result.data


def test_samples_are_a_picture(outputs: list[list[Any]]) -> None:
    [result] = [output for output in outputs[1] if output.output_type == "execute_result"]
    assert "image/png" in result.data and "Warning" not in _text(outputs[1], "stderr")


def test_results_are_shown_as_a_table(outputs: list[list[Any]]) -> None:
    [result] = [output for output in outputs[2] if output.output_type == "execute_result"]
    assert "nmse" in result.data["text/plain"]


def test_a_mistake_is_its_line(outputs: list[list[Any]]) -> None:
    [error] = [output for output in outputs[3] if output.output_type == "error"]
    assert error.ename == "UserError" and error.evalue.startswith("no recipe 'shpes'; did you mean 'shapes'?")
