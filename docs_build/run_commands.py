"""Run the commands of the documentation: the ``sh`` blocks of the tutorial and the how-to pages, in their order.

``python -m docs_build.run_commands [PAGE ...]``. Each page runs in an empty folder of its own. The tables in
``run_tables.py`` say all that differs from the page. A command is printed as it is run. The script ends with 1 if
a command fails.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from docs_build.run_tables import (
    APPENDED,
    EXPECTED_CODES,
    MADE_FIRST,
    NOT_RUN,
    PAGES,
    PYTHON_PAGES,
    REPLACED,
    make_images,
)

ROOT = Path(__file__).parent.parent


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of a page that are run: the language and the text."""
    kinds = "sh|python" if page.name in PYTHON_PAGES else "sh"
    return re.findall(rf"^```({kinds})\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """Return the commands of a block: a backslash at the end joins lines, and comments are removed."""
    lines = block.replace("\\\n", " ").splitlines()
    return [text for line in lines if (text := re.sub(r"\s+#.*|^#.*", "", line).strip())]


def as_run(command: str) -> str:
    """Return a command with its words replaced and the options appended that make it short."""
    for words, others in REPLACED.items():
        command = command.replace(words, others)
    for start, options in APPENDED.items():
        if re.search(rf"(^|-m )vqvae {start}\b", command):
            return f"{command} {options}"
    return command


def needed(text: str) -> list[str]:
    """Return what a page takes for granted, with all that is needed to make it, in the order of making."""
    found: list[str] = []

    def add(path: str) -> None:
        for needs in re.findall(r"runs/[\w-]+", MADE_FIRST[path]):
            if needs != path:
                add(needs)
        if path not in found:
            found.append(path)

    for path in MADE_FIRST:
        # the page's first mention of it is not the place where the page makes it
        first = re.search(rf"(--out |--store )?(?<![\w/-]){re.escape(path)}(?![\w/-])", text)
        if first and not first[1]:
            add(path)
    return found


def run_page(page: Path) -> list[str]:
    """Run a page; return the commands that failed."""
    found = blocks(page)
    all_text = "\n".join(text for _, text in found)
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder))
        for path in needed(all_text):
            failed += _run(as_run(MADE_FIRST[path]), folder)
        script = ""
        for kind, text in found:
            if kind == "python":
                script += text
                Path(folder, "page.py").write_text(script)
                failed += _run("python page.py", folder)
                continue
            for command in commands(text):
                if reason := next((why for start, why in NOT_RUN.items() if command.startswith(start)), None):
                    print(f"  not run: {command}   ({reason})", flush=True)
                else:
                    failed += _run(as_run(command), folder)
    return failed


def _run(command: str, folder: str) -> list[str]:
    """Run a command; print it, and its output if it fails."""
    print(f"  {command}", flush=True)
    begun = time.monotonic()
    words = shlex.split(command)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    settings = {"PATH": path, "VQVAE_CACHE": f"{folder}/.cache", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *words] if words[0] == "vqvae" else words,
        cwd=folder,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(f"    {time.monotonic() - begun:.0f} s", flush=True)
    if done.returncode in (0, *(code for start, code in EXPECTED_CODES.items() if command.startswith(start))):
        return []
    print(done.stdout)
    return [f"{command}: exit code {done.returncode}"]


def main(names: list[str]) -> int:
    """Run some pages, by default all; return the exit code."""
    failed: list[str] = []
    for name in names or PAGES:
        print(name, flush=True)
        failed += [f"{name}: {each}" for each in run_page(ROOT / name)]
    print("\n".join(failed) or "all commands ran")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
