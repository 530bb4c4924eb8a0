"""The page is one whole, well-formed file, holds every number, and does without what a run does not have."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.report.curves import panels, series
from vqvae.report.page import write_report
from vqvae.report.pictures import grid, save_png
from vqvae.report.plots import INKS

NASTY = "cats/<script>alert('1')</script>&\".png"
VOID = {"meta", "img", "br", "link", "hr"}
RESULTS: dict[str, Any] = {
    "images": 12345,
    "nmse": 0.1234,
    "psnr": 25.43,
    "ssim": 0.8791,
    "perplexity": 3.217,
    "usage": 0.75,
    "bits_per_code_uniform": 2.0,
    "bits_per_code_prior": 1.618,
    "bits_per_dim_uniform": 0.1875,
    "bits_per_dim_prior": None,
    "a_later_<measure>": 6.28,
}


class Page(HTMLParser):
    """Reads a page; raises where tags do not match; keeps text, attributes and heading levels."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def headings(self) -> list[tuple[str, int]]:
        return [(tag, int(tag[1])) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]


def write_metrics(run: Path, lines: list[dict[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def bare_run(run: Path, stage: str = "tokenizer") -> Path:
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"stage: {stage}\nmodel:\n  quantizer:\n    num_codes: 4\n")
    return run


def full_run(run: Path, stage: str = "tokenizer") -> Path:
    bare_run(run, stage)
    shape = {"images": 50000, "shape": [3, 8, 8], "fingerprint": "f00d"}
    data = {
        "spec": "folder",
        "train": shape,
        "classes": ["<b>cats</b>", "dogs"],
        "bad": [{"path": NASTY, "reason": "cut < short"}],
    }
    (run / "data.json").write_text(json.dumps(data))
    (run / "environment.json").write_text(json.dumps({"device": "H200 <x>", "compile": True}))
    results = {**RESULTS, "protocol": {"split": "test", "versions": {"torch": "2.9.9"}}}
    (run / "evaluation.json").write_text(json.dumps({"results": results, "counts": [50, 30, 20, 0]}))
    lines: list[dict[str, Any]] = []
    for step in range(1, 200):
        loss = {"loss": 2.0**-step, "perplexity": 3.0, "gradient_norm": 1.0, "learning_rate": 1e-3}
        lines.append({"step": step, "split": "train", **loss})
    for step in (100, 199):
        lines.append({"step": step, "split": "validation", "nmse": 20 / step, "bits_per_code_prior": 300 / step})
    write_metrics(run, lines)
    (run / "samples").mkdir()
    for step in (100, 199):
        for kind in ("samples", "reconstructions"):
            save_png(
                grid(torch.full((4, 3, 8, 8), step, dtype=torch.uint8)), run / f"samples/{kind}-{step:08d}.png"
            )
    return run


def test_the_page_needs_no_other_file_and_no_network(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path / "run"))
    page, source = Page(path), path.read_text()
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith(("data:image/png;base64,", "#"))
    assert "http://" not in source and "https://" not in source
    assert "@import" not in source
    targets = re.findall(r"url\((.*?)\)", source)
    assert targets and all(target.startswith("#") for target in targets)


def test_it_links_to_the_page_of_the_models_where_one_lies_in_the_run(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    assert "page.html" not in write_report(run).read_text()
    (run / "page.html").write_text("")
    assert [attrs["href"] for tag, attrs in Page(write_report(run)).tags if tag == "a"] == ["page.html"]


def test_nothing_is_left_beside_the_page(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    before = {path.name for path in run.iterdir()}
    assert write_report(run) == run / "report.html"
    assert {path.name for path in run.iterdir()} == before | {"report.html"}


def test_every_result_is_on_the_page_exactly_and_readably(tmp_path: Path) -> None:
    page = Page(write_report(full_run(tmp_path / "run")))
    exact = {attributes["value"] for tag, attributes in page.tags if tag == "data"}
    assert exact == {str(value) for value in RESULTS.values() if value is not None}
    for shown in (
        "12,345",
        "0.1234",
        "25.43",
        "0.8791",
        "3.217",
        "0.75",
        "1.618",
        "6.28",
        "divided by C·H·W, lower is better",
    ):
        assert shown in page.text
    assert "3 of 4 codes used" in page.text and "never used, 1" in page.text
    for shown in ("2.9.9", "H200 <x>", "50,000 images of 8×8", "num_codes: 4"):  # noqa: RUF001
        assert shown in page.text


def test_strings_from_outside_are_text_not_markup(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path / "run"))
    page = Page(path)
    assert "<script" not in path.read_text()
    for words in (NASTY, "<b>cats</b>", "cut < short", "a_later_<measure>"):
        assert words in page.text


def test_every_picture_has_words(tmp_path: Path) -> None:
    page = Page(write_report(full_run(tmp_path / "run")))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(images) == 2 * (1 + 2)
    assert all(attributes["alt"] for attributes in images)
    assert drawings and all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)


def test_what_a_code_costs_without_learning_is_drawn_beside_the_curves(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", "prior")
    baselines = {"bits_per_code_unigram": 1.81, "bits_per_code_position_unigram": 1.64}
    write_metrics(run, [{"step": 3, "split": "validation", "bits_per_code_prior": 1.2, **baselines}])
    text = Page(write_report(run)).text
    assert "uniform, 2" in text and "unigram, 1.81" in text and "unigram by position, 1.64" in text
    [bits] = [panel for panel in panels(read_records(run / "metrics.jsonl")) if panel.key == "bits"]
    assert bits.levels == (("unigram", 1.81), ("unigram by position", 1.64))


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_headings_start_at_one_and_skip_no_level(tmp_path: Path, stage: str) -> None:
    run, also = full_run(tmp_path / "demo" / "run", stage), full_run(tmp_path / "demo" / "also")
    for path in (write_report(run), write_report(run, also=also)):
        levels = [level for _, level in Page(path).headings()]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_bare_tokenizer_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run")
    page = Page(write_report(run))
    assert f"No evaluation yet: vqvae evaluate {run} --data SPEC" in page.text
    assert "No curves yet" in page.text
    assert "No reconstructions yet" in page.text
    assert "No samples yet" not in page.text  # a tokenizer never has any
    assert not [tag for tag, _ in page.tags if tag in ("svg", "img", "table")]


def test_a_bare_prior_misses_samples(tmp_path: Path) -> None:
    page = Page(write_report(bare_run(tmp_path / "run", "prior")))
    assert "No samples yet" in page.text and "No reconstructions yet" not in page.text


def test_before_an_evaluation_the_best_validation_record_is_the_headline(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run", "prior")
    bits = {10: 1.9, 20: 1.55, 30: 1.7}
    write_metrics(
        run, [{"step": step, "split": "validation", "bits_per_code_prior": value} for step, value in bits.items()]
    )
    text = Page(write_report(run)).text
    assert "best, 1.55 at step 20" in text
    assert "Measured on validation images at step 20." in text
    assert "uniform, 2" in text  # log2 of the four codes in the config


@pytest.mark.parametrize("cut", ['{"step": 3, "spl', "{", "3", "\ufffd"])
def test_a_line_cut_by_a_crash_changes_nothing(tmp_path: Path, cut: str) -> None:
    run = full_run(tmp_path / "run")
    whole = write_report(run).read_bytes()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(cut)
    assert write_report(run).read_bytes() == whole


def test_a_step_logged_again_after_a_resume_counts_once() -> None:
    lines = [
        {"step": 1, "split": "train", "loss": 5.0},
        {"step": 2, "split": "train", "loss": 4.0},
        {"step": 2, "split": "train", "loss": 3.0},
        {"step": 3, "split": "train", "loss": float("nan")},
        {"step": 2, "split": "validation", "loss": 9.0},
    ]
    assert series(lines, "train", "loss") == ([1.0, 2.0], [5.0, 3.0])


def test_a_loss_that_is_zero_throughout_is_not_drawn() -> None:
    lines = [{"step": step, "split": "train", "codebook": 0.0, "loss": 1.0} for step in range(3)]
    assert [panel.key for panel in panels(lines)] == ["loss"]


def test_the_health_of_the_codes_is_drawn(tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run")
    health = {"quantization_error": 0.1, "gradient_reconstruction": 0.2, "gradient_commitment": 0.3}
    levels = {f"usage_{level}": 0.5 for level in (1, 2, 3, 4)}
    write_metrics(
        run, [{"step": step, "split": "validation", "usage": 0.7, **health, **levels} for step in (1, 2)]
    )
    text = Page(write_report(run)).text
    for words in ("Usage", "Usage by level", "Quantization error", "Gradients of the three terms"):
        assert words in text
    assert text.count("later levels") == 1  # one key for the third and the fourth level


def test_two_runs_on_one_page_share_no_id(tmp_path: Path) -> None:
    run, also = full_run(tmp_path / "demo" / "prior", "prior"), full_run(tmp_path / "demo" / "tokenizer")
    page = Page(write_report(run, also=also))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} == {
        f"#{name}" for name in ("a", "b")
    }
    assert page.text.split()[0] == "demo"
    assert page.text.count("Config") == 2
    assert not (also / "report.html").exists()


def test_the_page_is_a_function_of_the_run(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_errors_are_one_line_and_name_the_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = bare_run(tmp_path / "run")
    broken = bare_run(tmp_path / "broken")
    (broken / "data.json").write_text("{")
    wrong = bare_run(tmp_path / "wrong")
    (wrong / "config.yaml").write_text("[")
    for call, words in (
        (lambda: write_report(tmp_path / "none"), "none: no such run directory"),
        (lambda: write_report(tmp_path / "empty"), "empty: not a run: it has no config.yaml"),
        (lambda: write_report(run, also=tmp_path / "none"), "none: no such run directory"),
        (lambda: write_report(broken), "data.json: damaged, not JSON"),
        (lambda: write_report(wrong), "config.yaml: not YAML"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_every_ink_has_its_colour_in_light_and_in_dark(tmp_path: Path) -> None:
    source = write_report(full_run(tmp_path / "run")).read_text()
    light, dark = re.findall(r":root \{(.*?)\}", source, re.DOTALL)
    for name in set(re.findall(r"var\(--(\w+)\)", source)) - {"ink", "font", "mono"}:
        assert f"--{name}:" in light and f"--{name}:" in dark, name
    assert all(f"--{ink}:" in light for ink in INKS)


def test_a_name_that_is_not_utf_8_survives(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "classes": ["caf\udce9", "thé"]}))
    text = Page(write_report(run)).text
    assert r"caf\udce9, thé" in text
