# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""A Hub on loopback that keeps model repositories in memory.

It speaks as much of the Hub's HTTP interface as `huggingface_hub` needs to create a repository, upload (small files in
the commit, large and binary ones through LFS), branch, and read at any revision; it knows nothing of what the files
hold. It takes writes with the token `TOKEN` alone, refuses what a real Hub would refuse, and knows neither users, nor
datasets, nor Xet.
"""

import base64
import contextlib
import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml


TOKEN = "hf_of_the_test"


@dataclasses.dataclass
class File:
    """One file of one commit; `sha256` is set where the content lies in LFS."""

    content: bytes
    sha256: str | None = None

    @property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclasses.dataclass
class Repository:
    """Commits by their hash, each the files by their path; branches by their name."""

    private: bool
    commits: dict[str, dict[str, File]] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, File]) -> str:
        content = json.dumps([len(self.commits), {path: file.etag for path, file in files.items()}])
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


class Refused(Exception):
    """An answer that is an error, as the Hub words it."""

    def __init__(self, status: int, code: str = "", **body):
        super().__init__(status, code)
        self.status, self.code, self.body = status, code, body


class Hub(ThreadingHTTPServer):
    """The repositories, the LFS objects, and a record of the requests, as ("POST", "/api/repos/create")."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format, *args):
        """Says nothing; `Hub.requests` is the log."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.requests.append((self.command, path))
        try:
            status, headers, content = self.route([unquote(part) for part in path.strip("/").split("/")], body)
        except Refused as refusal:
            status, headers = refusal.status, {"X-Error-Code": refusal.code}
            content = json.dumps({"error": refusal.code, **refusal.body}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def route(self, parts: list[str], body: bytes) -> tuple[int, dict, bytes]:
        if self.command in ("POST", "PUT") and parts[0] != "objects":
            self.check_token()
        match parts:
            case ["api", "repos", "create"]:
                return as_json(self.create(json.loads(body)))
            case ["api", "validate-yaml"]:
                return as_json(validate(json.loads(body)["content"]))
            case ["api", "models", user, name, *rest]:
                return as_json(self.models(f"{user}/{name}", rest, body))
            case [user, name, "info", "lfs", "objects", "batch"]:
                self.repository(f"{user}/{name.removesuffix('.git')}")
                return as_json(self.lfs_batch(json.loads(body)))
            case ["objects", sha256]:
                return self.store(sha256, body)
            case [user, name, "resolve", revision, *path]:
                return self.resolve(f"{user}/{name}", revision, "/".join(path))
        raise Refused(404, "EntryNotFound")

    def check_token(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "RepoNotFound")

    def repository(self, repo_id: str) -> Repository:
        if repo_id not in self.server.repositories:
            raise Refused(404, "RepoNotFound")
        repository = self.server.repositories[repo_id]
        if repository.private:
            self.check_token()
        return repository

    def create(self, request: dict) -> dict:
        repo_id = f"{request['organization']}/{request['name']}"
        url = f"{self.server.url}/{repo_id}"
        if repo_id in self.server.repositories:
            raise Refused(409, url=url)
        repository = Repository(private=request.get("visibility") == "private")
        repository.commit("main", {".gitattributes": File(b"")})
        self.server.repositories[repo_id] = repository
        return {"url": url, "name": repo_id}

    def models(self, repo_id: str, rest: list[str], body: bytes) -> dict | list:
        repository = self.repository(repo_id)
        match self.command, rest:
            case "GET", []:
                return self.info(repo_id, "main")
            case "GET", ["revision", revision]:
                return self.info(repo_id, revision)
            case "GET", ["tree", revision, *folder]:
                return self.tree(repo_id, revision, "/".join(folder))
            case "POST", ["preupload", revision]:
                self.files(repo_id, revision)
                return preupload(json.loads(body)["files"])
            case "POST", ["commit", branch]:
                return self.commit(repo_id, branch, [json.loads(line) for line in body.splitlines()])
            case "POST", ["branch", branch] if branch in repository.branches:
                raise Refused(409)
            case "POST", ["branch", branch]:
                repository.branches[branch] = repository.branches["main"]
                return {}
        raise Refused(404, "EntryNotFound")

    def files(self, repo_id: str, revision: str) -> tuple[str, dict[str, File]]:
        repository = self.repository(repo_id)
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            raise Refused(404, "RevisionNotFound")
        return sha, repository.commits[sha]

    def info(self, repo_id: str, revision: str) -> dict:
        sha, files = self.files(repo_id, revision)
        return {
            "id": repo_id,
            "modelId": repo_id,
            "sha": sha,
            "private": self.repository(repo_id).private,
            "siblings": [{"rfilename": path} for path in files],
            "tags": [],
        }

    def tree(self, repo_id: str, revision: str, folder: str) -> list[dict]:
        _, files = self.files(repo_id, revision)
        found = {path: file for path, file in files.items() if not folder or path.startswith(f"{folder}/")}
        if not found:
            raise Refused(404, "EntryNotFound")
        return [
            {"type": "file", "path": path, "size": len(file.content), "oid": file.oid} for path, file in found.items()
        ]

    def lfs_batch(self, request: dict) -> dict:
        objects = []
        for wanted in request["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}
            objects.append({**wanted, **({} if wanted["oid"] in self.server.objects else {"actions": upload})})
        return {"transfer": "basic", "objects": objects}

    def store(self, sha256: str, body: bytes) -> tuple[int, dict, bytes]:
        if hashlib.sha256(body).hexdigest() != sha256:
            raise Refused(400, "content is not what was announced")
        self.server.objects[sha256] = body
        return 200, {}, b""

    def commit(self, repo_id: str, branch: str, lines: list[dict]) -> dict:
        repository = self.repository(repo_id)
        if branch not in repository.branches:
            raise Refused(404, "RevisionNotFound")
        files = dict(repository.commits[repository.branches[branch]])
        for line in lines:
            match line:
                case {"key": "file", "value": {"path": path, "content": content}}:
                    files[path] = File(base64.b64decode(content))
                case {"key": "lfsFile", "value": {"path": path, "oid": sha256}}:
                    if sha256 not in self.server.objects:
                        raise Refused(400, "LFS object was never uploaded")
                    files[path] = File(self.server.objects[sha256], sha256)
        sha = repository.commit(branch, files)
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{repo_id}/commit/{sha}"}

    def resolve(self, repo_id: str, revision: str, path: str) -> tuple[int, dict, bytes]:
        sha, files = self.files(repo_id, revision)
        if path not in files:
            raise Refused(404, "EntryNotFound")
        # a Hub sends the reader of an LFS file to another host; here the content comes at once
        return 200, {"X-Repo-Commit": sha, "ETag": f'"{files[path].etag}"'}, files[path].content


def as_json(value) -> tuple[int, dict, bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def validate(card: str) -> dict:
    """What the Hub thinks of the head of a card."""
    metadata = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
    wrong = [name for result in metadata.get("model-index", []) for name in {"name", "results"} - result.keys()]
    errors = [{"message": f'"model-index[0].{name}" is required'} for name in wrong]
    return {"errors": errors, "warnings": []}


def preupload(files: list[dict]) -> dict:
    """Which files go into the commit and which through LFS: weights and pictures, as the Hub's own defaults say."""
    binary = (".safetensors", ".png")
    return {
        "files": [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(binary) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
    }


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A running Hub; `Hub.url` is what HF_ENDPOINT wants."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
