"""Run the commands of the documentation: the ``sh`` blocks of the tutorial and the how-to pages, in their order.

``python -m docs_build.run_commands [PAGE ...]``. Each page runs in an empty folder of its own. The tables in
``run_tables.py`` say all that differs from the page. A command is printed as it is run. The script ends with 1
if a command fails.
"""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from docs_build.run_tables import APPENDED, DOCTOR, MADE_FIRST, NOT_RUN, PAGES, PYTHON_PAGES, REPLACED, make_files

ROOT = Path(__file__).parent.parent
# commands are children of a process that has imported torch already: it takes longer than most commands
_PROCESSES = multiprocessing.get_context("forkserver")


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
    added = (options for pattern, options in APPENDED if re.search(rf"\bvqvae {pattern}", command))
    return " ".join([command, *added])


def taken_for_granted(text: str) -> list[str]:
    """Return the commands that make what the commands of a page need and do not make."""
    found: list[str] = []

    def make(path: str) -> None:
        for needed in re.findall(r"runs/[\w-]+", MADE_FIRST[path]):
            if needed != path:
                make(needed)
        if MADE_FIRST[path] not in found:
            found.append(MADE_FIRST[path])

    for path in MADE_FIRST:
        mention = re.search(rf"(--out )?(?<![\w/-]){re.escape(path)}(?![\w/-])", text)
        if mention and not mention[1]:  # the first mention is not the place where the page makes it
            make(path)
    return found


def run_page(page: Path) -> list[str]:
    """Run a page; return what failed."""
    found = [(kind, [text] if kind == "python" else commands(text)) for kind, text in blocks(page)]
    mentions = "\n".join(command for kind, texts in found if kind == "sh" for command in texts)
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder))
        for command in taken_for_granted(mentions):
            failed += _run(as_run(command), folder)
        script = Path(folder, "page.py")
        for kind, texts in found:
            for text in texts:
                if kind == "python":
                    script.write_text((script.read_text() if script.exists() else "") + text)
                    failed += _run(f"{sys.executable} page.py", folder)
                elif reason := next((why for start, why in NOT_RUN.items() if text.startswith(start)), None):
                    print(f"  not run: {text}  ({reason})", flush=True)
                else:
                    failed += _run(as_run(text), folder)
    return failed


def _run(command: str, folder: str) -> list[str]:
    """Run a command, and print it; print its output if it fails."""
    print(f"  {command}", flush=True)
    begun = time.monotonic()
    words = shlex.split(command)
    log = Path(folder, ".log")
    call = _call_vqvae if words[0] == "vqvae" else _call
    process = _PROCESSES.Process(target=call, args=(words, folder, str(log)))
    process.start()
    process.join()
    print(f"    {time.monotonic() - begun:.0f} s", flush=True)
    if process.exitcode == 0 or (process.exitcode == 1 and command.startswith(DOCTOR)):
        return []
    print(log.read_text(), flush=True)
    return [f"{command}: exit code {process.exitcode}"]


def _call_vqvae(words: list[str], folder: str, log: str) -> None:
    from vqvae.cli import main

    _enter(folder, log)
    main(words[1:])


def _call(words: list[str], folder: str, log: str) -> None:
    _enter(folder, log)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sys.exit(subprocess.run(words).returncode)


def _enter(folder: str, log: str) -> None:
    """Work in a folder, with a cache of its own, and write what is printed into a file."""
    os.chdir(folder)
    os.environ["VQVAE_CACHE"] = str(Path(folder, ".cache"))
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)


def main(names: list[str]) -> int:
    """Run some pages, by default all; return the exit code."""
    _PROCESSES.set_forkserver_preload(["vqvae.api", "vqvae.tokens"])
    failed: list[str] = []
    for name in names or PAGES:
        print(name, flush=True)
        failed += [f"{name}: {each}" for each in run_page(ROOT / name)]
    print("\n".join(["FAILED", *failed]) if failed else "all commands ran")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
