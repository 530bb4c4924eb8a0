"""Exit 1 where a package is installed that constraints.txt does not pin, or at another version."""

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
    sys.exit("\n".join([*wrong, "not what constraints.txt pins: `make pins`, or `make clean` for a new .venv"]))
print(f"{len(others)} packages, each as pinned")
