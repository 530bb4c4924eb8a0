"""The site of the documentation: it builds without a warning, and its pages request nothing from a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from docs_build.interface import PACKAGES, _exported

from vqvae.cli.parsing import parsers

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent
# what a browser fetches by itself: any tag's src, and the href of a link tag that is no mere statement
_FETCHED = re.compile(r'<(?:script|img|iframe|source|video)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"')
_STATED = re.compile(r'<link[^>]*rel="(?:canonical|next|prev)"[^>]*>')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with --strict, under which a warning is an error, and with a network that is not there."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class _Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {found["id"] or ""} if "id" in found else set()
        self.links += [found["href"] or ""] if tag == "a" and "href" in found else []


def test_no_page_requests_anything_from_a_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for found in _FETCHED.findall(_STATED.sub("", page.read_text())):
            target = "".join(found)
            assert not target.startswith(("http:", "https:", "//")), (page, target[:200])
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    pages = {page.resolve(): _Links(page.read_text()) for page in site.rglob("*.html")}
    for page, found in pages.items():
        if page.name == "404.html":  # its links are those of the server's root
            continue
        for link in found.links:
            path, _, anchor = unquote(link).partition("#")
            if re.match(r"\w+:", path):
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), (page, link)
            if anchor and target in pages and not anchor.startswith("__"):
                assert anchor in pages[target].anchors, (page, link)


def test_the_reference_has_every_command_and_every_public_name(site: Path) -> None:
    commands = (site / "commands.html").read_text()
    for name in parsers()[1]:
        assert f'id="vqvae-{name}"' in commands and f"usage: vqvae {name}" in commands
    for package in PACKAGES:
        anchors = _Links((site / "api" / f"{package}.html").read_text()).anchors
        assert set(_exported(package)) <= anchors | _plain_values(package), package


def _plain_values(package: str) -> set[str]:
    """Return the exported names that are neither classes nor functions; these need no docstring."""
    names = [place.rpartition(".") for place in _exported(package)]
    return {".".join((home, name)) for home, _, name in names if not callable(getattr(import_module(home), name))}


def test_mathematics_is_drawn_without_a_script(site: Path) -> None:
    page = (site / "paper-to-code.html").read_text()
    assert page.count("<math") > 50 and "$" not in re.sub(r"<code.*?</code>", "", page, flags=re.DOTALL)
    assert "MATHS" not in page and "```" not in page
    assert not re.search(r"<m\w+>[^<]*\\", page)  # no TeX that was not understood
