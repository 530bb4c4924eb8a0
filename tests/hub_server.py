"""A server on this machine that speaks the Hub's protocol for models: repositories, revisions, LFS, commits.

It runs as a process of its own: ``python -m tests.hub_server``. The first line that it prints is its port. It
keeps everything in memory. Writing, and reading a private repository, need the token ``hf_writer``. ``GET /log``
returns the requests as JSON. ``POST /tag/OWNER/NAME/TAG`` tags the newest commit.
"""

import base64
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

TOKEN = "hf_writer"
Files = dict[str, bytes]


class Repo:
    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, Files] = {}
        self.refs: dict[str, str] = {}

    def commit(self, added: Files) -> str:
        files = {**self.commits.get(self.refs.get("main", ""), {}), **added}
        content = repr(
            (len(self.commits), sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items()))
        )
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = files
        self.refs["main"] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class Hub(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.lfs: Files = {}
        self.log: list[str] = []
        self.lock = Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0].replace("%2F", "/").strip("/")
        with self.server.lock:
            if path != "log":
                self.server.log.append(f"{self.command} {path}")
            parts = path.split("/")
            if parts == ["log"]:
                return self._json(self.server.log)
            if parts[:1] == ["tag"]:
                repo = self.server.repos["/".join(parts[1:3])]
                repo.refs[parts[3]] = repo.refs["main"]
                return self._json({})
            if self.command in ("POST", "PUT") and not self._may_write():
                return self._error(401, "RepoNotFound")
            if parts[:2] == ["api", "models"]:
                return self._models("/".join(parts[2:4]), parts[4:], body)
            if parts[0] == "lfs":
                assert hashlib.sha256(body).hexdigest() == parts[1], "what arrived is not what was announced"
                self.server.lfs[parts[1]] = body
                return self._json({})
            if parts == ["api", "repos", "create"]:
                return self._create(json.loads(body))
            if parts == ["api", "validate-yaml"]:
                return self._json({"errors": [], "warnings": []})
            if path.endswith(".git/info/lfs/objects/batch"):
                return self._batch(json.loads(body))
            return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _may_write(self) -> bool:
        return self.path.startswith("/lfs/") or self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        if name in self.server.repos:
            return self._json({"error": "exists", "url": f"{self.server.address}/{name}"}, 409)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repos[name] = Repo(bool(private))
        self.server.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._json({"url": f"{self.server.address}/{name}", "id": name})

    def _repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        return None if repo is None or (repo.private and not self._may_write()) else repo

    def _models(self, name: str, rest: list[str], body: bytes) -> None:
        repo = self._repo(name)
        if repo is None:
            return self._error(404, "RepoNotFound")
        what, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        if what == "preupload":
            asked = json.loads(body)["files"]
            modes = [
                (file["path"], "lfs" if file["path"].endswith("safetensors") else "regular") for file in asked
            ]
            return self._json(
                {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}
            )
        if what == "commit":
            return self._commit(name, repo, body)
        sha = repo.sha(revision)
        if sha is None:
            return self._error(404, "RevisionNotFound")
        if what == "tree":
            return self._json([self._entry(path, data) for path, data in repo.commits[sha].items()])
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        return self._json({"id": name, "sha": sha, "private": repo.private, "siblings": siblings})

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "type": "file",
            "path": path,
            "size": len(data),
            "oid": hashlib.sha1(data).hexdigest(),
        }
        if path.endswith("safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def _commit(self, name: str, repo: Repo, body: bytes) -> None:
        added: Files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                added[value["path"]] = self.server.lfs[value["oid"]]
        sha = repo.commit(added)
        return self._json(
            {"success": True, "commitUrl": f"{self.server.address}/{name}/commit/{sha}", "commitOid": sha}
        )

    def _batch(self, asked: dict[str, Any]) -> None:
        objects: list[dict[str, Any]] = []
        for one in asked["objects"]:
            href = f"{self.server.address}/lfs/{one['oid']}"
            there = one["oid"] in self.server.lfs
            objects.append({**one, **({} if there else {"actions": {"upload": {"href": href}}})})
        return self._json({"transfer": "basic", "objects": objects})

    def _file(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        sha = repo.sha(revision) if repo is not None else None
        if repo is None or sha is None:
            return self._error(404, "RepoNotFound" if repo is None else "RevisionNotFound")
        data = repo.commits[sha].get(path)
        if data is None:
            return self._error(404, "EntryNotFound")
        tag = (hashlib.sha256 if path.endswith("safetensors") else hashlib.sha1)(data).hexdigest()
        headers = {"X-Repo-Commit": sha, "ETag": f'"{tag}"'}
        if path.endswith("safetensors"):
            headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(data))}
        return self._send(200, data, headers)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


if __name__ == "__main__":
    hub = Hub()
    print(hub.server_address[1])
    sys.stdout.flush()
    hub.serve_forever()
