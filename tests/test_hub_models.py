"""Models of the Hub: what is pushed loads elsewhere with equal codes, is pinned, and is read from the cache.

Server and clients are processes of their own: the Hub's client reads its environment when it is imported.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.hub_server import TOKEN

import vqvae
from vqvae.training import Run

# runs each line of Python and prints a JSON list: its result, or the line of a UserError
_CLIENT = """
import json, sys, torch, vqvae
images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
def loaded(name, **how):
    return vqvae.load_tokenizer(name, **how).encode(images).tolist()
def sampled(name):
    return vqvae.load_prior(name).sample(4, seed=3).tolist()
def text(name):
    from huggingface_hub import hf_hub_download
    return open(hf_hub_download('me/small', name, revision='v1')).read()
found = []
for line in sys.argv[1:]:
    try:
        found.append(eval(line))
    except vqvae.UserError as error:
        found.append(str(error))
print(json.dumps(found))
"""


@dataclass
class Client:
    """Runs lines in a process with a cache of its own."""

    port: int
    home: Path

    def run(self, *lines: str, **environment: str) -> list[Any]:
        mine = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
        hub = {
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", _CLIENT, *lines],
            env={**mine, **hub, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", method=method)
        return json.load(urllib.request.urlopen(request, timeout=10))


@pytest.fixture(scope="module")
def visit(
    tokenizer_run: Run, prior_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Push, load elsewhere, push again, pin; then take the server away and load from the cache."""
    server = subprocess.Popen([sys.executable, "-m", "tests.hub_server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        author, reader = (Client(port, tmp_path_factory.mktemp(name)) for name in ("author", "reader"))
        push = f"vqvae.push_to_hub({str(prior_run.path)!r}, 'me/small', license='mit')"
        alone = f"vqvae.push_to_hub({str(tokenizer_run.path)!r}, 'me/tok', private=True)"
        found: dict[str, Any] = {"author": author, "reader": reader}
        found["pushed"] = author.run(push, alone, HF_TOKEN=TOKEN)
        reader.ask("tag/me/small/v1", "POST")
        *found["loaded"], without = reader.run(
            "loaded('hf:me/small')", "sampled('hf:me/small')", "loaded('hf:me/tok')"
        )
        again = f"vqvae.push_to_hub({str(tokenizer_run.path)!r}, 'me/small')"
        found["second"] = author.run(again, HF_TOKEN=TOKEN)
        found["private"] = [without, *reader.run("loaded('hf:me/tok')", HF_TOKEN=TOKEN)]
        pinned = (
            "sampled('hf:me/small@v1')",
            f"sampled('hf:me/small@{found['pushed'][0][1]}')",
            "sampled('hf:me/small')",
            "type(vqvae.from_pretrained('me/small', revision='v1')).__name__",
            "type(vqvae.from_pretrained('me/small')).__name__",
        )
        wrong = (
            "loaded('hf:me/none')",
            "loaded('hf:me/small@v9')",
            "loaded('hf:me')",
            "loaded('hf:me/a..b')",
            f"vqvae.push_to_hub({str(tokenizer_run.path)!r}, 'me/other')",
            "vqvae.push_to_hub('/no/run', 'me/other')",
            "vqvae.from_pretrained('shapes', revision='v1')",
        )
        described = ("text('README.md')", "json.loads(text('config.json'))")
        answers = iter(reader.run(*pinned, *wrong, *described))
        found["pinned"], found["wrong"] = [next(answers) for _ in pinned], [next(answers) for _ in wrong]
        found["card"], found["config"] = answers
        found["log"] = reader.ask("log")
    finally:
        server.kill()
        server.communicate()
    found["offline"] = [
        reader.run("loaded('hf:me/small')", "sampled('hf:me/small@v1')", "loaded('hf:me/never')", **how)
        for how in ({}, {"HF_HUB_OFFLINE": "1"})
    ]
    yield found


def _codes(run: Run) -> list[Any]:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return vqvae.load_tokenizer(run.path).encode(images).tolist()


def _samples(run: Run) -> list[Any]:
    return vqvae.load_prior(run.path).sample(4, seed=3).tolist()


def test_what_was_pushed_loads_elsewhere_with_equal_codes(
    visit: dict[str, Any], tokenizer_run: Run, prior_run: Run
) -> None:
    assert visit["loaded"] == [_codes(tokenizer_run), _samples(prior_run)]


def test_a_file_is_downloaded_once(visit: dict[str, Any]) -> None:
    commit = visit["pushed"][0][1]
    for name in ("model.safetensors", "tokenizer/model.safetensors"):
        assert visit["log"].count(f"GET me/small/resolve/{commit}/{name}") == 1


def test_a_revision_is_pinned_by_tag_and_by_commit(visit: dict[str, Any], prior_run: Run) -> None:
    assert visit["pinned"][:2] == [_samples(prior_run)] * 2
    assert "not a prior" in visit["pinned"][2]  # the newest commit holds a tokenizer alone
    assert visit["pinned"][3:] == ["PixelCNN", "VQVAE"]


def test_without_a_network_the_cache_serves_and_what_is_not_in_it_is_said(
    visit: dict[str, Any], tokenizer_run: Run, prior_run: Run
) -> None:
    for codes, samples, never in visit["offline"]:
        assert (codes, samples) == (_codes(tokenizer_run), _samples(prior_run))
        assert never.startswith("cannot get hf:me/never from http://127.0.0.1:")
        assert never.endswith("it is not in the cache") and "\n" not in never


def test_a_private_model_needs_a_token(visit: dict[str, Any], tokenizer_run: Run) -> None:
    without, codes = visit["private"]
    assert without == "no model me/tok on the Hub; if it is private or gated, set HF_TOKEN"
    assert codes == _codes(tokenizer_run)


def test_a_mistake_is_one_line(visit: dict[str, Any]) -> None:
    none, revision, form, dots, token, run, local = visit["wrong"]
    assert none == "no model me/none on the Hub; if it is private or gated, set HF_TOKEN"
    assert revision == "hf:me/small has no revision v9"
    assert form.startswith("'me' is no model of the Hub: write OWNER/NAME")
    assert dots.startswith("'me/a..b' is no model of the Hub: write OWNER/NAME")
    assert token.startswith("cannot push to me/other: ") and token.endswith("hf auth login, or HF_TOKEN")
    assert run.startswith("/no/run: no such run directory or model file")
    assert local == "shapes: only a model of the Hub, OWNER/NAME, has revisions"


def test_the_card_and_the_config_describe_the_model_and_name_no_path(
    visit: dict[str, Any], prior_run: Run
) -> None:
    header = yaml.safe_load(visit["card"].split("---")[1])
    assert (header["library_name"], header["license"]) == ("vqvae", "mit")
    assert {"vqvae", "pixelcnn"} <= set(header["tags"])
    assert 'vqvae.load_prior("hf:me/small")' in visit["card"] and "![Samples](samples.png)" in visit["card"]
    config = visit["config"]
    assert (config["library_name"], config["model_type"], config["data"]["spec"]) == ("vqvae", "prior", "shapes")
    for text in (visit["card"], json.dumps(config)):
        assert str(prior_run.path.parent) not in text and "/tmp" not in text
