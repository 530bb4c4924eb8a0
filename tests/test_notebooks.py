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
    shown = [_kinds(cell.get("outputs", [])) for cell in notebook.cells]
    before = [_kinds(cell.get("outputs", [])) for cell in stored]
    assert shown == before or not any(before)  # a notebook may be stored without its outputs
    assert any("image/png" in kind for kinds in shown for kind in kinds)


def _kinds(outputs: list[dict]) -> list[tuple[str, ...]]:
    """Return what a cell showed: the kind of each output but bars, with its pictures and texts."""
    known = ("image/png", "text/plain")
    return [
        (each["output_type"], *sorted(set(each.get("data", ())) & set(known)))
        for each in outputs
        if each.get("name") != "stderr"
    ]
