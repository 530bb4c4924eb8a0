"""What the pages are made of: the frame of a page, sections, tables, lists of facts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, cast

from vqvae.files import write_atomically


def write_page(path: Path, *, title: str, body: str, command: str) -> None:
    """Write a page, atomically.

    Args:
        path: the HTML file.
        title: of the page, as text.
        body: HTML.
        command: that writes the page.
    """
    page = Template(files("vqvae.report").joinpath("page.html").read_text(encoding="utf-8"))
    text = page.substitute(title=escape(title), body=body, command=command)
    write_atomically(path, text.encode(errors="backslashreplace"))  # a name that is not UTF-8 has surrogates


def sections(named: Iterable[tuple[str, str]], level: int) -> str:
    """Return sections of (title, HTML), their headings at ``level``, without those that are empty."""
    return "".join(
        f"<section><h{level}>{title}</h{level}>{content}</section>" for title, content in named if content
    )


def html_table(heads: Sequence[str], rows: str, css: str) -> str:
    """Return a table of HTML rows under these heads."""
    head = "".join(f'<th scope="col">{words}</th>' for words in heads)
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def fact_list(record: Mapping[str, Any]) -> str:
    """Return a record as a list of names and values; nested records are flattened."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(readable(value))}</dd>" for name, value in _flat(record))
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _flat(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(cast(dict[str, Any], value), f"{name}, ")
        else:
            yield name, value


def readable(value: Any) -> str:
    """Return a value for reading: four digits of a number, thousands separated, lists with commas."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in cast(list[Any], value))
    return str(value)
