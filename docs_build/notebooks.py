"""Notebooks as pages; ``python -m docs_build.notebooks`` runs the notebooks and stores what they print and show.

A notebook is stored with its outputs, so it can be read where nothing runs it.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def as_page(path: Path) -> str:
    """Return a notebook as Markdown, with its pictures."""
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + f"\n\n[The notebook]({path.name})\n"


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *filter(None, map(_shown, cell["outputs"]))]


def _shown(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        text = "".join(output["text"])
        return f"```text\n{text.rstrip()}\n```" if output["name"] == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="picture" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    return f"```text\n{''.join(data.get('text/plain', '')).rstrip()}\n```" if data else ""


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in a folder; return it with its outputs.

    Raises:
        CellExecutionError: when a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    return notebook


def store(path: Path) -> None:
    """Run a notebook and store its outputs, without times, bars and the path of the folder it ran in."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(path, Path(folder))
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            kept = [each for each in cell.outputs if each.get("name") != "stderr"]
            cell.outputs = [_plain(each, f"{folder}/") for each in kept]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, path)


def _plain(output: Any, folder: str) -> Any:
    if "data" in output:
        known = ("image/png", "text/plain")
        output.data = {kind: value.replace(folder, "") for kind, value in output.data.items() if kind in known}
        output.metadata = {}
    if "text" in output:
        output.text = re.sub(r".*\r", "", output.text).replace(folder, "")
    return output


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
        store(each)
