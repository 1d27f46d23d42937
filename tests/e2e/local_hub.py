"""A Hugging Face hub on this machine: the part of its HTTP that clients need to download models, and its moods.

Modelled on what huggingface_hub requests: the API (revision, tree in pages, refs), HEAD and GET of /resolve, which
answers with small files itself and redirects to a CDN, a server of its own, for those in LFS.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".gguf", ".bin")
PAGE = 4  # entries of a page of the tree


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def etag_of(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if is_lfs(path) else git_sha1(data)


@dataclass
class Repo:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    token: str = ""  # who has it may read; empty: everybody
    gated: bool = False
    claimed_size: dict[str, int] = field(default_factory=dict)  # what the tree says of a path

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        text = "".join(f"{path} {etag_of(path, data)}\n" for path, data in sorted(files.items()))
        sha = hashlib.sha1(f"{len(self.commits)}{text}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


@dataclass
class Request:
    server: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What happens to the next GET whose path or file ends so, once, instead of or to its answer."""

    suffix: str
    server: str = "cdn"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = -1  # bytes of the body
    stall_after: int = -1  # bytes of the body; then nothing, until the hub is closed
    ignore_range: bool = False
    body: bytes | None = None  # another file, which has an ETag of its own


class LocalHub:
    """Serves from construction to `close`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._servers = [self._serve("127.0.0.1", "hub"), self._serve("127.0.0.2", "cdn")]
        self.url, self.cdn_url = (
            f"http://{host}:{port}" for host, port in (s.server_address[:2] for s in self._servers)
        )

    def _serve(self, host: str, name: str) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self, "name": name})
        server = ThreadingHTTPServer((host, 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def repo(self, name: str, files: dict[str, bytes], **options: Any) -> Repo:
        self.repos[name] = Repo(**options)
        self.repos[name].commit(files)
        return self.repos[name]

    def take_fault(self, server: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.server == server and path.endswith(fault.suffix):
                    self.faults.remove(fault)
                    return fault
        return None

    def bodies(self, suffix: str = "") -> list[Request]:
        """The GETs of files, as far as they were answered with bytes."""
        return [
            request
            for request in self.requests
            if request.method == "GET" and request.path.endswith(suffix)
            and (request.server == "cdn" or ("/resolve/" in request.path and not is_lfs(request.path)))
        ]  # fmt: skip

    def close(self) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    hub = LocalHub()
    try:
        yield hub
    finally:
        hub.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub
    name: str

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)  # with a host, where this is asked as a proxy
        self.hub.requests.append(
            Request(self.name, self.command, unquote(url.path), dict(self.headers.items()))
        )
        if self.name == "cdn" or url.path.startswith("/cdn/"):
            return self._answer_cdn(unquote(url.path))
        parts = url.path.lstrip("/").split("/")
        fault = self.hub.take_fault("hub", unquote(url.path)) if self.command == "GET" else None
        if fault is not None and fault.status:
            return self._send(fault.status, b"", fault.headers)
        if parts[:2] == ["api", "models"]:
            return self._answer_api(parts[2:], parse_qs(url.query))
        if len(parts) > 4 and parts[2] == "resolve":
            return self._answer_file(
                "/".join(parts[:2]), unquote(parts[3]), unquote("/".join(parts[4:])), fault
            )
        return self._send(404, b"")

    def _error(self, status: int, code: str, message: str = "") -> None:
        self._send(status, b'{"error": ""}', {"X-Error-Code": code, "X-Error-Message": message})

    def _find(self, name: str, revision: str, for_files: bool) -> tuple[Repo, str] | None:
        """The repository and the commit; None: the error was answered."""
        repo = self.hub.repos.get(name)
        said = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if said == "hf_expired":
            return self._error(401, "", "Invalid credentials in Authorization header")
        may_read = repo is not None and (not repo.token or said == repo.token)
        if repo is None or (not may_read and not repo.gated):
            return self._error(404 if said else 401, "RepoNotFound", "Repository not found")
        if not may_read and for_files:
            return self._error(403 if said else 401, "GatedRepo", f"Access to {name} is restricted")
        sha = repo.branches.get(revision) or repo.tags.get(revision) or revision
        if sha not in repo.commits:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha

    def _answer_api(self, parts: list[str], query: dict[str, list[str]]) -> None:
        name, what = "/".join(parts[:2]), parts[2:3]
        revision = unquote(parts[3]) if len(parts) > 3 else "main"
        found = self._find(name, "main" if what == ["refs"] else revision, for_files=False)
        if found is None:
            return None
        repo, sha = found
        if what == ["refs"]:
            return self._send_json(
                {
                    "branches": [{"name": n, "targetCommit": c} for n, c in repo.branches.items()],
                    "tags": [{"name": n, "targetCommit": c} for n, c in repo.tags.items()],
                }
            )
        if what == ["tree"]:
            return self._answer_tree(name, repo, sha, int(query.get("cursor", ["0"])[0]))
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        return self._send_json({"id": name, "modelId": name, "sha": sha, "siblings": siblings})

    def _answer_tree(self, name: str, repo: Repo, sha: str, begin: int) -> None:
        files = sorted(repo.commits[sha].items())
        folders = sorted({path.rsplit("/", 1)[0] for path, _ in files if "/" in path})
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders
        ]
        for path, data in files:
            size = repo.claimed_size.get(path, len(data))
            entry = {"type": "file", "oid": git_sha1(data), "size": size, "path": path}
            if is_lfs(path):
                pointer = f"version https://git-lfs.github.com/spec/v1\noid {etag_of(path, data)}\n"
                entry["oid"] = git_sha1(pointer.encode())
                entry["lfs"] = {
                    "oid": etag_of(path, data), "size": size, "pointerSize": len(pointer),
                }  # fmt: skip
                entry["xetHash"] = hashlib.sha256(b"xet" + data).hexdigest()
            entries.append(entry)
        headers = {}
        if begin + PAGE < len(entries):
            host = f"http://{self.headers['Host']}"
            after = f"{host}/api/models/{name}/tree/{sha}?recursive=true&cursor={begin + PAGE}"
            headers["Link"] = f'<{after}>; rel="next"'
        self._send_json(entries[begin : begin + PAGE], headers)

    def _answer_file(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        found = self._find(name, revision, for_files=True)
        if found is None:
            return
        repo, sha = found
        data = repo.commits[sha].get(path)
        headers = {"X-Repo-Commit": sha}
        if data is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            self._send(404, b"", headers)
            return
        etag = etag_of(path, data)
        if not is_lfs(path):
            self._send_file(data, f'"{etag}"', headers, fault)
            return
        key = f"/cdn/{etag}/{quote(path)}"
        cdn = self.hub.cdn_url if self.headers.get("Host") == urlsplit(self.hub.url).netloc else ""
        headers |= {
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(data)),
            "X-Xet-Hash": hashlib.sha256(b"xet" + data).hexdigest(),
            "X-Xet-Refresh-Route": f"{self.hub.url}/api/models/{name}/xet-read-token/{sha}",
            "ETag": '"of-the-redirect"',
            "Location": f"{cdn}{key}?signature=1",
        }
        self._send(302, b"Found. Redirecting", headers)

    def _answer_cdn(self, path: str) -> None:
        fault = self.hub.take_fault("cdn", path) if self.command == "GET" else None
        if fault is not None and fault.status:
            self._send(fault.status, b"", fault.headers)
            return
        etag = path.split("/")[2]
        for repo in self.hub.repos.values():
            for files in repo.commits.values():
                for name, data in files.items():
                    if is_lfs(name) and etag_of(name, data) == etag:
                        self._send_file(data, f'"cdn-{etag[:16]}"', {}, fault)
                        return
        self._send(404, b"")

    def _send_file(self, data: bytes, etag: str, headers: dict[str, str], fault: Fault | None) -> None:
        fault = fault or Fault("")
        if fault.body is not None:
            data, etag = fault.body, f'"{hashlib.md5(fault.body).hexdigest()}"'
        headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range", etag) == etag
        begin, status = 0, 200
        if asked and same and not fault.ignore_range:
            begin, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            if begin >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._send(status, data[begin:], headers, fault)

    def _send_json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: Fault | None = None
    ) -> None:
        fault = fault or Fault("")
        self.send_response(status)
        for name, value in {**(headers or {}), **fault.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.stall_after >= 0:
            self.wfile.write(body[: fault.stall_after])
            self.wfile.flush()
            self.hub.closing.wait(30)
            self.close_connection = True
        elif fault.cut_after >= 0:
            self.wfile.write(body[: fault.cut_after])
            self.close_connection = True
        else:
            self.wfile.write(body)


