"""The reference of commands and of the Python interface, made from the program itself."""

import ast
import os
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
# the packages whose exported names are the public interface, and what each is for
PACKAGES = {
    "vqvae": "what the commands do, as functions",
    "vqvae.quantizers": "the nearest-code search, and quantizers as layers",
    "vqvae.models": "the VQ-VAE and its objective",
    "vqvae.priors": "distributions over codes",
    "vqvae.networks": "encoders and decoders",
    "vqvae.likelihoods": "distributions of pixels given the decoder's output",
    "vqvae.losses": "further terms of the objective",
    "vqvae.metrics": "measurements of images and codes",
    "vqvae.sampling": "sampling from any prior, guidance, inpainting",
    "vqvae.component": "what a component of one's own is made of",
}
_WIDTH = 100


def commands_page() -> str:
    """Return the help of every command."""
    os.environ |= {"COLUMNS": str(_WIDTH + 2), "NO_COLOR": "1"}  # argparse takes two columns off
    from vqvae.cli.keys import keys_page
    from vqvae.cli.parsing import parsers

    top, commands = parsers()
    parts = [f"```text\n{top.format_help()}```\n"]
    for name, command in commands.items():
        if command.keys:
            command.epilog = keys_page(command.keys)
        parts.append(f"## vqvae {name}\n\n```text\n{command.format_help()}```\n")
    return "\n".join(parts)


def api_index() -> str:
    """Return the table of the packages, each with a link to its page."""
    rows = [f"| [`{name}`](api/{name}.md) | {meaning} |" for name, meaning in PACKAGES.items()]
    return "\n".join(["| module | contents |", "|---|---|", *rows, ""])


def api_pages() -> dict[str, str]:
    """Return the text of each package's page by its name; mkdocstrings fills in signatures and docstrings."""
    return {f"api/{name}.md": _page(name) for name in PACKAGES}


def _page(package: str) -> str:
    own = "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}"
    places = [f"::: {place}\n" for place in _exported(package)]
    return "\n".join([f"# {package}\n", f"::: {package}\n{own}\n", *places])


def _exported(package: str) -> list[str]:
    """Return the places of the public names: what ``from a import X as X`` imports, or what a module defines."""
    folder = SOURCE / package.replace(".", "/")
    if not folder.is_dir():
        body = ast.parse(folder.with_suffix(".py").read_text()).body
        defined = [each.name for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef)]
        return [f"{package}.{name}" for name in defined if not name.startswith("_")]
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse((folder / "__init__.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {each.name: f"{node.module}.{each.name}" for each in node.names if each.asname == each.name}
    if package == "vqvae":
        found["load_images"] = "vqvae.data.load"
    return [found[name] for name in sorted(found, key=str.lower)]
