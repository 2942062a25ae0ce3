"""A server on 127.0.0.1 that speaks as much of the Hub's protocol as huggingface_hub asks for, and fails on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """The files of one repository at one commit, and what is wrong with it.

    ``failures`` says for a path, or "*" for all, what happens: "gated" (401 on files), "forbidden" (403), "missing"
    (404), "broken" (500), "half" (half of what was announced), "damaged" (other bytes), "slow" (starts and then sends
    nothing), and "half once", "damaged once", "broken once". For "info" it is about the listing.
    """

    files: dict[str, bytes]
    failures: dict[str, str] = field(default_factory=dict)
    large: tuple[str, ...] = (".safetensors", ".model")

    @property
    def commit(self) -> str:
        """A hash of everything in it, as git would."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()

    def info(self, repo_id: str, commit: str) -> dict[str, object]:
        """What /api/models answers."""
        siblings = [self.sibling(path, content) for path, content in sorted(self.files.items())]
        return {"_id": "0", "id": repo_id, "modelId": repo_id, "sha": commit, "siblings": siblings, "tags": []}

    def sibling(self, path: str, content: bytes) -> dict[str, object]:
        """One file in the listing."""
        entry = {"rfilename": path, "size": len(content), "blobId": etag(content, large=False)}
        if path.endswith(self.large):
            sha256 = etag(content, large=True)
            return entry | {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 130}}
        return entry


def etag(content: bytes, *, large: bool) -> str:
    """SHA-256 of large files, git's own hash of small ones."""
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


class HubServer:
    """The repositories, what was asked for, and where the server is."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.commits: dict[str, str] = {}  # a commit that a repository is to have
        self.requests: list[str] = []
        self.tokens: dict[str, str | None] = {}  # path -> what was sent with the last request for it
        self.url, self.cdn = "", ""  # large files come from another host, which must get no token
        self.stop = threading.Event()

    def add_folder(self, repo_id: str, folder: Path, commit: str | None = None) -> Repo:
        """Serve the files of a folder."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repos[repo_id] = Repo(files)
        if commit is not None:
            self.commits[repo_id] = commit
        return self.repos[repo_id]

    def commit(self, repo_id: str) -> str:
        """The commit that it says it has."""
        return self.commits.get(repo_id) or self.repos[repo_id].commit

    def downloads(self) -> list[str]:
        """Paths of the files whose content was asked for, in order."""
        return [request.split(" ", 1)[1] for request in self.requests if request.startswith("FILE ")]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for headers and content; two would wait for each other

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        hub.tokens[path] = self.headers.get("authorization")
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            return self._info(parts)
        if parts[0] == "cdn":
            return self._content("/".join(parts[1:3]), "/".join(parts[3:]))
        if len(parts) > 4 and parts[2] == "resolve":
            return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._refuse(404, "EntryNotFound")

    def _info(self, parts: list[str]) -> None:
        repo_id, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
        repo = self.server.hub.repos.get(repo_id)
        if repo is None:
            return self._refuse(401, "RepoNotFound")
        if self._fails(repo.failures.get("info", ""), repo, "info"):
            return None
        if revision not in {"main", self.server.hub.commit(repo_id)}:
            return self._refuse(404, "RevisionNotFound")
        body = json.dumps(repo.info(repo_id, self.server.hub.commit(repo_id))).encode()
        return self._answer(200, {"Content-Type": "application/json"}, body)

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        hub, repo = self.server.hub, self.server.hub.repos.get(repo_id)
        if repo is None:
            return self._refuse(401, "RepoNotFound")
        if revision not in {"main", hub.commit(repo_id)}:
            return self._refuse(404, "RevisionNotFound")
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound")
        if self._fails(repo.failures.get(path) or repo.failures.get("*", ""), repo, path):
            return None
        content = repo.files[path]
        headers = {"X-Repo-Commit": hub.commit(repo_id), "Accept-Ranges": "bytes"}
        if path.endswith(repo.large):
            headers |= {"X-Linked-Etag": f'"{etag(content, large=True)}"', "X-Linked-Size": str(len(content))}
            return self._answer(302, headers | {"Location": f"{hub.cdn}/cdn/{repo_id}/{path}"}, b"")
        headers["ETag"] = f'"{etag(content, large=False)}"'
        return self._send_file(repo, path, headers)

    def _content(self, repo_id: str, path: str) -> None:
        self._send_file(self.server.hub.repos[repo_id], path, {"Accept-Ranges": "bytes"})

    def _send_file(self, repo: Repo, path: str, headers: dict[str, str]) -> None:
        content, failure = repo.files[path], repo.failures.get(path, "")
        if self.command == "GET":
            self.server.hub.requests.append(f"FILE {path}")
            if failure.endswith(" once"):
                del repo.failures[path]
            if failure.startswith("damaged"):
                content = bytes(reversed(content))
            elif failure.startswith("half"):
                content = content[: len(content) // 2]
            elif failure == "slow":
                return self._send_slowly(content, headers)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return self._answer(206 if first else 200, headers, content[first:])

    def _send_slowly(self, content: bytes, headers: dict[str, str]) -> None:
        self._answer(200, headers, content[:8], length=len(content))
        self.wfile.flush()
        self.server.hub.stop.wait(30)
        self.close_connection = True

    def _fails(self, failure: str, repo: Repo, name: str) -> bool:
        answers = {
            "gated": (401, "GatedRepo"),
            "forbidden": (403, "GatedRepo"),
            "missing": (404, "EntryNotFound"),
            "broken": (500, ""),
            "unauthorized": (401, ""),
        }
        if failure == "mute":
            self.server.hub.stop.wait(30)
            self.close_connection = True
            return True
        kind = failure.removesuffix(" once")
        if kind not in answers:
            return False
        if failure.endswith(" once"):
            del repo.failures[name]
        self._refuse(*answers[kind])
        return True

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"X-Error-Code": code} if code else {}, b"")

    def _answer(self, status: int, headers: dict[str, str], body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, *_: object) -> None:
        return  # a client that gave up is part of the tests


@contextmanager
def serving() -> Iterator[HubServer]:
    """Run a server for a while."""
    hub = HubServer()
    server = _Server(hub)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
