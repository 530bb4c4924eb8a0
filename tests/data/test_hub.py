"""The Hub's client against a real server on this machine that speaks the Hub's protocol.

The client reads its environment when it is imported, so each state of the network is a process of its own.
"""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_CONVERTED = "fedcba9876543210fedcba9876543210fedcba98"
_TAGGED = "00112233445566778899aabbccddeeff00112233"
_NAMES = ["airplane", "automobile", "bird"]

# Loads each spec and prints one JSON object: what was loaded, or the error's line.
_CLIENT = """
import json, sys
from vqvae.data import load
from vqvae.errors import UserError
results = {}
for argument in sys.argv[1:]:
    spec, _, split = argument.rpartition("@")
    try:
        loaded = load(spec, split)
        results[argument] = [loaded.fingerprint, loaded.labels.tolist(), list(loaded.classes)]
    except UserError as error:
        results[argument] = str(error)
print(json.dumps(results))
"""


def _parquet(images: list[bytes], labels: list[int]) -> bytes:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": image, "path": None} for image in images], kind)
    features = {"label": {"names": _NAMES, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    stream = io.BytesIO()
    pq.write_table(pa.table({"img": rows, "label": labels}).replace_schema_metadata(metadata), stream)
    return stream.getvalue()


class _Hub(ThreadingHTTPServer):
    """Data sets by (repo, commit), each a dict from file name to (announced content, served content)."""

    def __init__(self, repos: dict[tuple[str, str], dict[str, tuple[bytes, bytes]]]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos = repos
        self.downloads: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def log_message(self, *arguments):
        """Keep the test's output clean."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body: bool):
        parts = self.path.partition("?")[0].strip("/").replace("%2F", "/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._describe("/".join(parts[2:4]), "/".join(parts[5:]))
        else:
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]), body=body)

    def _describe(self, repo: str, revision: str):
        commit = _CONVERTED if revision == "refs/convert/parquet" else _COMMIT
        commit = {"v1": _TAGGED, "v2": "none"}.get(revision, commit)
        files = self.server.repos.get((repo, commit))
        if files is None:
            known = any(name == repo for name, _ in self.server.repos)
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})
            return
        siblings = [{"rfilename": name} for name in files]
        self._send(200, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode(), {})

    def _file(self, repo: str, commit: str, name: str, *, body: bool):
        announced, served = self.server.repos[repo, commit][name]
        tag = hashlib.sha256(announced).hexdigest()
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{tag}"',
            "X-Linked-ETag": f'"{tag}"',
            "X-Linked-Size": str(len(announced)),
        }
        if body:
            self.server.downloads.append(f"{repo}/{name}")
        self._send(200, served, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool = True):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _run(home, port: int, *arguments: str, **environment: str) -> dict:
    clean = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and name[:3] != "HF_"
    }
    finished = subprocess.run(
        [sys.executable, "-c", _CLIENT, *arguments],
        env={**clean, "HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{port}", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """Load everything with the server up, then some of it again with the server gone."""
    from PIL import Image

    def image(key: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(key).integers(0, 256, (32, 32, 3), np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    train, test = _parquet([image(0), image(1)], [0, 2]), _parquet([image(2)], [1])
    flipped = train[:100] + bytes([train[100] ^ 1]) + train[101:]
    shards = {"train": "plain_text/train-00000-of-00001.parquet", "test": "plain_text/test-00000-of-00001.parquet"}
    both = {shards["train"]: (train, train), shards["test"]: (test, test), "README.md": (b"", b"")}
    converted = {"default/train/0000.parquet": (train, train), "default/validation/0000.parquet": (test, test)}
    hub = _Hub(
        {
            ("uoft-cs/cifar10", _COMMIT): both,
            ("some/archive", _COMMIT): {"images.zip": (b"", b"")},
            ("some/archive", _CONVERTED): converted,
            ("some/damaged", _COMMIT): {"train.parquet": (train, flipped)},
            ("some/short", _COMMIT): {"train.parquet": (train, train[:-9])},
            ("some/several", _COMMIT): {"one/train.parquet": (train, train), "two/train.parquet": (train, train)},
            ("some/several", _CONVERTED): {"three/partial-train/0000.parquet": (test, test)},
            ("some/several", _TAGGED): {"train.parquet": (test, test)},
            ("some/text", _COMMIT): {"README.md": (b"", b"")},
        }
    )
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    home = tmp_path_factory.mktemp("hf")
    port = hub.server_address[1]
    specs = [f"hf:some/{name}@train" for name in ("archive", "damaged", "short", "several", "text", "gone")]
    specs += [f"hf:some/several{which}@train" for which in (":one", ":three", "@v1", ":onee", "@v2")]
    online = _run(home, port, "cifar10@train", "cifar10@test", "cifar10@train", "hf:some/archive@test", *specs)
    downloads = list(hub.downloads)
    hub.shutdown()
    hub.server_close()
    again = ("cifar10@train", "cifar10@test", "hf:some/several:three@train", "hf:some/several@v1@train")
    offline = _run(home, port, *again, "hf:some/never@train")
    return online, downloads, offline


def test_a_set_downloads_once_and_loads(visit):
    online, downloads, _ = visit
    assert online["cifar10@train"][1:] == [[0, 2], _NAMES]
    assert online["cifar10@test"][1:] == [[1], _NAMES]
    assert downloads.count("uoft-cs/cifar10/plain_text/train-00000-of-00001.parquet") == 1


def test_what_was_loaded_once_loads_without_network(visit):
    online, _, offline = visit
    for argument in ("cifar10@train", "cifar10@test", "hf:some/several:three@train", "hf:some/several@v1@train"):
        assert offline[argument] == online[argument]


def test_configurations_and_revisions_are_chosen(visit):
    online, _, _ = visit
    assert online["hf:some/several:one@train"][1] in ([0], [2])  # one of two rows is held out
    for which in (":three", "@v1"):
        assert online[f"hf:some/several{which}@train"][1] == [1]
    wrong = online["hf:some/several:onee@train"]
    assert wrong == "hf:some/several:onee has no configuration 'onee'; did you mean 'one'?"
    assert online["hf:some/several@v2@train"].startswith("hf:some/several has no parquet files at v2")


def test_sets_of_other_formats_come_from_the_converted_branch(visit):
    online, _, _ = visit
    assert online["hf:some/archive@train"] == online["cifar10@train"]
    assert online["hf:some/archive@test"] == online["cifar10@test"]


def test_a_damaged_file_is_caught_and_named(visit):
    message = visit[0]["hf:some/damaged@train"]
    assert message.startswith("train.parquet of hf:some/damaged is damaged: delete /")
    assert message.endswith(" and try again")
    path = message.removeprefix("train.parquet of hf:some/damaged is damaged: delete ").split(" and ")[0]
    assert os.path.isfile(path)
    assert not os.path.islink(path)


def test_a_download_cut_short_is_caught(visit):
    message = visit[0]["hf:some/short@train"]
    assert message.startswith("cannot get hf:some/short from http://127.0.0.1:")


def test_sets_that_cannot_serve_say_why(visit):
    online, _, _ = visit
    assert online["hf:some/several@train"].startswith(
        "hf:some/several holds several data sets (one, two): pass hf:some/several:one"
    )
    assert online["hf:some/text@train"] == "hf:some/text has no parquet files: download it, then pass its folder"
    assert (
        online["hf:some/gone@train"] == "no data set some/gone on the Hub; if it is private or gated, set HF_TOKEN"
    )


def test_without_network_the_error_is_one_line_with_the_alternative(visit, tmp_path):
    never = visit[2]["hf:some/never@train"]
    assert never.startswith("cannot get hf:some/never from http://127.0.0.1:")
    assert never.endswith("; without network, download the parquet files elsewhere, then pass their folder")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        results = _run(tmp_path, unused.getsockname()[1], "cifar10@train", HF_HUB_OFFLINE="1")
    message = results["cifar10@train"]
    assert "\n" not in message
    assert message.endswith(
        "; without network, download cifar-10-binary.tar.gz or the parquet files elsewhere, then pass their folder"
    )
