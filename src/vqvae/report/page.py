"""One page about one run: its data, its training, its pictures and its results."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vqvae.errors import UserError
from vqvae.metrics import HEADLINES, described
from vqvae.report.curves import panels
from vqvae.report.html import fact_list, html_table, readable, sections, write_page
from vqvae.report.pictures import figures_over_time
from vqvae.report.plots import panel_figure, rate_figure, usage_figure
from vqvae.report.run_reader import RunRecords, read_run

_HEADLINE_FIGURES = 4


def write_report(run: Path, also: Path | None = None) -> Path:
    """Write ``run/report.html``: one file that needs no other file and no network.

    A section whose files the run does not have yet is replaced by a line that says how to get them.

    Args:
        run: a run directory.
        also: a second run for the same page, such as the tokenizer of a prior. The page's title is then the name
            of the folder that ``run`` is in.

    Returns:
        The path of the page.

    Raises:
        UserError: when a directory does not exist or is not a run, or one of its records is damaged.
    """
    first = read_run(Path(run))
    try:
        title, body = _title_and_body(first, also)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # JSON, but not as vqvae wrote it
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise UserError(
            f"{run}: a record in it is damaged ({problem}); 'vqvae evaluate' writes evaluation.json again"
        ) from error
    write_page(first.directory.report, title=title, body=body, command="vqvae report")
    return first.directory.report


def _title_and_body(first: RunRecords, also: Path | None) -> tuple[str, str]:
    if also is None:
        return first.path.resolve().name, _part(first, name="a", level=1)
    second = read_run(Path(also))
    title = first.path.resolve().parent.name
    parts = ((first, "a"), (second, "b"))
    links = " and ".join(f'<a href="#{name}">{escape(part.stage)}</a>' for part, name in parts)
    body = f'<h1>{escape(title)}</h1><p class="lead">Two runs: {links}.</p>' + "".join(
        f'<article class="part" id="{name}">{_part(part, name=name, level=2)}</article>' for part, name in parts
    )
    return title, body


def _part(run: RunRecords, *, name: str, level: int) -> str:
    """Return one run, its heading at ``level``, its sections one level below; ``name`` keeps ids unique."""
    started = str(run.environment.get("started", ""))[:10]
    kicker = " · ".join(filter(None, [run.stage.capitalize(), started, str(run.environment.get("device", ""))]))
    heading = f"<h{level}>{escape(run.path.resolve().name)}</h{level}>"
    story = (
        ("Samples", _pictures(run, "samples", "images drawn from the prior")),
        ("Reconstructions", _pictures(run, "reconstructions", "originals, each with its reconstruction below")),
        ("Training", _curves(run, name)),
        ("Codebook", _usage(run, name)),
        ("Rate and distortion", _rates(run, name)),
        ("Results", _results(run)),
    )
    records = (
        ("Protocol", fact_list(run.protocol)),
        ("Environment", fact_list(run.environment)),
        ("Data", _data(run)),
    )
    summary = f"{escape(_summary(run))}{_link_to_page(run) if name == 'a' else ''}"
    lead = f'<p class="kicker">{escape(kicker)}</p>{heading}<p class="lead">{summary}</p>'
    return (
        f"<header>{lead}{_headline(run)}</header>{sections(story, level + 1)}"
        f'<div class="columns">{sections(records, level + 1)}</div>'
        f"<details><summary>Config</summary><pre>{escape(run.config_text)}</pre></details>"
    )


def _summary(run: RunRecords) -> str:
    words = [f"A {run.stage}"]
    if run.num_codes:
        words.append(f"of {run.num_codes:,} codes")
    if run.metrics:
        words.append(f"after {max(line['step'] for line in run.metrics):,} steps")
    if train := run.data.get("train"):
        channels, height, width = train["shape"]
        kind = "grey images" if channels == 1 else "images"
        words.append(
            f"on {train['images']:,} {kind} of {height}\N{MULTIPLICATION SIGN}{width}, from {run.data['spec']}"
        )
    return " ".join(words) + "."


def _link_to_page(run: RunRecords) -> str:
    """Return a link to the page of ``vqvae page`` in the run; empty if there is none."""
    page = run.directory.page
    return f' <a href="{page.name}">Try the model in the browser.</a>' if page.is_file() else ""


def _headline(run: RunRecords) -> str:
    measured, caption = run.results, ""
    validation = [record for record in run.metrics if record.get("split") == "validation"]
    if not measured and validation:
        measured = min(validation, key=lambda record: record.get("bits_per_code_prior", -record["step"]))
        caption = f'<p class="quiet">Measured on validation images at step {measured["step"]:,}.</p>'
    of = {"perplexity": len(run.counts) or None, "bits_per_code_prior": run.uniform_bits}
    figures = ""
    known = [name for name in HEADLINES.get(run.stage, ()) if measured.get(name) is not None]
    for name in known[:_HEADLINE_FIGURES]:
        metric = described(name, run.protocol)
        unit = metric.unit if metric.unit in ("dB", "bits") else ""
        unit = f"of {readable(of[name])} {unit}" if of.get(name) else unit
        title = ", ".join(filter(None, [metric.title, metric.direction]))
        number = f"<dd>{readable(measured[name])}<small>{escape(unit)}</small></dd>"
        figures += f"<div><dt>{escape(title)}</dt>{number}</div>"
    return f'<dl class="figures">{figures}</dl>{caption}' if figures else ""


def _pictures(run: RunRecords, kind: str, alt: str) -> str:
    shown = figures_over_time(run.directory.samples, kind, alt=alt)
    due = {"tokenizer": "reconstructions", "prior": "samples"}.get(run.stage) == kind
    return shown or (_quiet(f"No {kind} yet: training writes them to", "samples/") if due else "")


def _curves(run: RunRecords, name: str) -> str:
    drawn = panels(run.metrics, uniform_bits=run.uniform_bits)
    if not drawn:
        return _quiet("No curves yet: training writes them to", run.directory.metrics.name)
    return (
        f'<div class="plots">{"".join(panel_figure(panel, name=f"{name}-{panel.key}") for panel in drawn)}</div>'
    )


def _usage(run: RunRecords, name: str) -> str:
    return (
        usage_figure(run.counts, perplexity=run.results.get("perplexity"), name=f"{name}-codes")
        if run.counts
        else ""
    )


def _rates(run: RunRecords, name: str) -> str:
    """Return PSNR against rate by depth; empty for a tokenizer whose codes have no depth."""
    found = run.results
    prior = any(re.fullmatch(r"bits_per_dim_codes_prior_\d+", key) and found[key] is not None for key in found)
    rate = "bits_per_dim_codes_prior" if prior else "kl_bits_per_dim_uniform"
    depths = sorted(int(key.rpartition("_")[2]) for key in found if re.fullmatch(rf"{rate}_\d+", key))
    points = [(depth, found[f"{rate}_{depth}"], found[f"psnr_{depth}"]) for depth in depths]
    return rate_figure(points, name=f"{name}-rates") if points else ""


def _results(run: RunRecords) -> str:
    if not run.results:
        return _quiet("No evaluation yet:", f"vqvae evaluate {run.path} --data SPEC")
    rows = ""
    for name, value in run.results.items():
        metric = described(name, run.protocol)
        number = "—" if value is None else f'<data value="{escape(str(value))}">{escape(readable(value))}</data>'
        words = ", ".join(filter(None, [_typeset(metric.meaning), metric.direction]))
        rows += (
            f'<tr><th scope="row">{escape(metric.title)}</th><td class="number">{number}</td>'
            f'<td class="soft">{escape(metric.unit)}</td><td class="soft">{escape(words)}</td></tr>'
        )
    return html_table(("Metric", "Value", "Unit", "Meaning"), rows, css="results")


def _typeset(words: str) -> str:
    return words.replace("*", "\N{MIDDLE DOT}").replace("log2", "log\N{SUBSCRIPT TWO}")


def _data(run: RunRecords) -> str:
    facts = fact_list({key: value for key, value in run.data.items() if key != "bad"})
    bad: Sequence[Mapping[str, Any]] = run.data.get("bad") or []
    rows = "".join(
        f"<tr><td><code>{escape(str(file['path']))}</code></td><td>{escape(str(file['reason']))}</td></tr>"
        for file in bad
    )
    table = html_table(("File", "Why it was left out"), rows, css="bad")
    return f"{facts}<details><summary>Files left out: {len(bad):,}</summary>{table}</details>" if bad else facts


def _quiet(text: str, code: str) -> str:
    return f'<p class="quiet">{escape(text)} <code>{escape(code)}</code></p>'
