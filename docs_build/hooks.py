"""What MkDocs does not do by itself: pages that are made at build time, links that also work on GitHub, and maths.

- The page of the commands is made from the command line's own help, and the pages of the Python interface from the
  names that each package exports. A page in the repository says where they are.
- Notebooks become pages. A page that ``mkdocs.yml`` does not name is the last of the how-to pages.
- README.md is the home page; the other pages of the repository's root are pages too.
- A link that leads out of ``docs/`` leads to the page of the file, or to a copy of the file within the site.
- TeX between dollar signs becomes MathML, which browsers draw without a script.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from docs_build.interface import api_index, api_pages, commands_page  # noqa: E402
from docs_build.notebooks import as_page  # noqa: E402

# the pages of the repository's root, and those whose text is made at build time
ROOT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"} | {
    name: name.lower() for name in ("CONTRIBUTING.md", "SECURITY.md")
}
_MADE = {"commands.md": commands_page, "api.md": api_index}
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_BLOCK_MATHS = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_MATHS = re.compile(r"(?<![\w$\\])\$(?=[^\s$])([^$]{1,300}?)(?<=\S)\$(?![\w$])")
_maths: list[str] = []


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that ``mkdocs.yml`` does not name at the end of its how-to pages."""
    assert config.nav is not None
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    others = [name for name in pages if f"'{name}'" not in str(config.nav)]
    [how_to] = [part["How to"] for part in config.nav if "How to" in part]
    how_to += others
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of ``docs/``."""
    for name, uri in ROOT_PAGES.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=as_page(path)))
    for uri, text in api_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add what is made at build time, lead links to where their files are in the site, and take out the maths."""
    uri = page.file.src_uri
    if uri in _MADE:
        markdown = f"{markdown}\n{_MADE[uri]()}"
    markdown = _BLOCK_MATHS.sub(lambda found: f"\n{_kept(found[1], 'block')}\n", markdown)
    parts = _CODE.split(markdown)
    for i in range(0, len(parts), 2):  # the odd parts are code
        parts[i] = _INLINE_MATHS.sub(lambda found: _kept(found[1], "inline"), parts[i])
    return _LINK.sub(lambda found: _led(found, uri, config, files), "".join(parts))


def on_page_content(html: str, **_: Any) -> str:
    """Put the maths back; two colons before an example in a docstring are one."""
    html = html.replace("<p>::</p>", "").replace("::</p>", ":</p>")
    return re.sub(r"(?:<p>)?MATHS(\d+)X(?:</p>)?", lambda found: _put_back(found), html)


def _put_back(found: re.Match[str]) -> str:
    maths = _maths[int(found[1])]
    alone = found[0].startswith("<p>") and found[0].endswith("</p>")
    return maths if alone else found[0].replace(f"MATHS{found[1]}X", maths)


def _kept(tex: str, display: str) -> str:
    tex = " ".join(tex.split()).replace(r"\arg", r"\mathrm{arg}\,")  # the converter does not know arg
    _maths.append(convert(tex, display=display))
    return f"MATHS{len(_maths) - 1}X"


def _led(found: re.Match[str], uri: str, config: MkDocsConfig, files: Files) -> str:
    """Return a link of a page of the repository as a link of the site."""
    opening, target, anchor = found[1], found[2], found[3] or ""
    if re.match(r"\w+:", target):
        return found[0]
    names = {page: name for name, page in ROOT_PAGES.items()}
    own = names.get(uri, f"docs/{uri}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(own), target))
    return f"{opening}{posixpath.relpath(_place(path, config, files), posixpath.dirname(uri) or '.')}{anchor})"


def _place(path: str, config: MkDocsConfig, files: Files) -> str:
    """Return where a file of the repository is in the site; a file outside ``docs/`` is copied."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith("docs/notebooks/"):
        return path.removeprefix("docs/").replace(".ipynb", ".md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    copy = f"files/{path}.txt"
    if files.get_file_from_path(copy) is None:
        files.append(File.generated(config, copy, content=(ROOT / path).read_bytes()))
    return copy
