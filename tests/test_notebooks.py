"""The notebooks of the documentation run, and show what their stored outputs show."""

import json
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_runs_and_shows_results_of_the_stored_kinds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nbclient")
    from docs_build.notebooks import execute

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent.parent / "src"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own packages
        notebook = execute(path, tmp_path)
    stored = json.loads(path.read_text())["cells"]
    for cell, before in zip(notebook.cells, stored, strict=True):
        assert _kinds(cell.get("outputs", [])) == _kinds(before.get("outputs", [])), cell.source
    shown = [kind for cell in stored for kind in _kinds(cell.get("outputs", []))]
    assert any("image/png" in kind for kind in shown)


def _kinds(outputs: list[dict]) -> list[tuple[str, ...]]:
    """Return what a cell showed: the kind of each output but bars, with its pictures and texts."""
    known = ("image/png", "text/plain")
    return [
        (each["output_type"], *sorted(set(each.get("data", ())) & set(known)))
        for each in outputs
        if each.get("name") != "stderr"
    ]
