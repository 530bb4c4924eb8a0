"""Exit with 1 if an installed package is not pinned in constraints.txt, or is installed in another version."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


constraints = (Path(__file__).parent.parent / "constraints.txt").read_text()
pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", constraints, re.MULTILINE))
found = {_plain(each.name): each.version.split("+")[0] for each in distributions()}
others = sorted(found.keys() - {"pip", "vqvae-toolkit"})
wrong = [f"{name} {found[name]}: pinned {pins.get(name)}" for name in others if pins.get(name) != found[name]]
if wrong:
    advice = "run `make pins` to pin these versions, or `make clean` for a new .venv"
    sys.exit("\n".join([*wrong, f"these packages differ from constraints.txt: {advice}"]))
print(f"{len(others)} packages, all as pinned in constraints.txt")
