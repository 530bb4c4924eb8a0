"""One table says what every metric is; a metric from outside is one row and its accumulator."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from vqvae.cli import main
from vqvae.files import read_records
from vqvae.metrics import (
    HEADLINES,
    METRICS,
    Batch,
    ImageMean,
    Measurement,
    Metric,
    Models,
    add_metric,
    described,
    measured_in,
)
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.training import Run


class Contrast(ImageMean):
    """A metric of somebody else's: the mean range of an image's reconstruction."""

    name = "contrast"

    def values(self, batch: Batch) -> Tensor:
        flat = batch.reconstruction.flatten(1)
        return flat.amax(1) - flat.amin(1)


ROW = Metric("contrast", "Contrast <b>", "grey levels", "higher", "brightest minus darkest & more", Contrast,
             ("evaluation", "validation"), in_log=True)  # fmt: skip


@pytest.fixture
def contrast() -> Iterator[Metric]:
    before = dict(METRICS)
    add_metric(ROW)
    yield ROW
    METRICS.clear()
    METRICS.update(before)


def test_a_metric_from_outside_is_in_the_json_the_table_the_page_the_log_and_the_curves(
    contrast: Metric, train_tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tokenizer(tmp_path / "run")
    logged = [line for line in capsys.readouterr().err.splitlines() if "  validation  " in line]
    assert all(re.search(r"contrast \d", line) for line in logged) and len(logged) == 2
    main(["evaluate", str(run.path), "--data", "shapes:100", "--json"])
    value = json.loads(capsys.readouterr().out)["contrast"]
    assert 0 < value < 2
    main(["evaluate", str(run.path), "--data", "shapes:100"])
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("contrast")]
    assert f"{value:.4f}  grey levels, brightest minus darkest & more, higher is better" in line
    main(["report", str(run.path)])
    page = (run.path / "report.html").read_text()
    assert f'<data value="{value}">' in page and "Contrast &lt;b&gt;" in page
    curve = page.index(
        "<b>Contrast &lt;b&gt;</b>brightest minus darkest &amp; more, grey levels, higher is better"
    )
    assert curve < page.index("<h2>Results</h2>")


def test_the_same_metric_again_is_no_error_and_another_of_its_name_is(contrast: Metric) -> None:
    add_metric(contrast)

    class Other(Contrast):
        pass

    with pytest.raises(ValueError, match="metric 'contrast': there is a metric of that name"):
        add_metric(Metric("contrast", "", "", "lower", "", Other))
    with pytest.raises(ValueError, match="metric 'psnr': there is a metric of that name"):
        add_metric(Metric("psnr", "", "", "lower", "", Contrast))


def test_an_accumulator_that_does_not_return_its_row_is_named(tokenizer_run: Run) -> None:
    measurement = Measurement(
        Models(load_tokenizer(tokenizer_run.path)), [Metric("x", "", "", "lower", "", Contrast)]
    )
    with pytest.raises(ValueError, match="metric 'x': its accumulator does not return"):
        measurement.values()


def test_every_value_that_is_recorded_has_its_row(tokenizer_run: Run, prior_run: Run) -> None:
    for run in (tokenizer_run, prior_run):
        names = {name for record in read_records(run.metrics) for name in record} - {"step", "split"}
        assert names <= METRICS.keys()
    assert {name for names in HEADLINES.values() for name in names} <= METRICS.keys()
    assert all(metric.title and metric.meaning and metric.name == name for name, metric in METRICS.items())


def test_no_metric_has_two_names() -> None:
    """One spelling each: a name says first what it is, then under which model or on which images."""
    assert "bits_per_code" not in METRICS
    assert not [
        name for name in METRICS if re.search(r"._bits_per_(code|dim)", name) and not name.startswith("kl_")
    ]
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_a_level_is_described_by_its_metric() -> None:
    assert described("usage_2").title == "Usage, level 2" and described("usage_2").better == "higher"
    assert described("unheard_of") == Metric("unheard_of", "unheard_of", "", "neither", "")


def test_rows_that_share_an_accumulator_share_its_sums(prior_run: Run) -> None:
    models = Models(load_tokenizer(prior_run.path), load_prior(prior_run.path))
    measurement = Measurement(models, measured_in("evaluation"))
    kinds = [type(accumulator) for accumulator in measurement.accumulators]
    assert len(kinds) == len(set(kinds)) < len(measurement.metrics)
