"""As much of the Hub as making a Space needs, on this machine; it keeps all that it is told."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = 10_000_000


@dataclass
class LocalHub:
    """What was asked and stored.

    Attributes:
        address: to give as ``endpoint``.
        calls: method, path and JSON of each request, in order.
        uploads: content by SHA-256, of files that came as LFS.
        commit: content by path, of the last commit.
        refusals: status to answer with, by the beginning of the path.
        model_files: of every model that is asked for.
    """

    address: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    commit: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    model_files: list[str] = field(default_factory=list)

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for _, path, _ in self.calls]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON for a request."""
        if method == "PUT" and "/store/" not in self.refusals:
            self.uploads[hashlib.sha256(body).hexdigest()] = body
            return 200, {}
        told = None if method == "PUT" or path.endswith("/commit/main") or not body else json.loads(body)
        self.calls.append((method, path, told))
        if method == "GET" and "/tree/" not in path:
            return 404, {"error": "there is no such Space yet"}
        for beginning, status in self.refusals.items():
            if path.startswith(beginning):
                return status, {"error": "not for you"}
        return 200, self.reply(path, told, body)

    def reply(self, path: str, told: Any, body: bytes) -> Any:
        """JSON for a request that is granted."""
        if "/tree/" in path:
            return [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.model_files]
        if path.endswith("/preupload/main"):
            modes = {file["path"]: "lfs" if file["size"] > LARGE else "regular" for file in told["files"]}
            return {"files": [{"path": name, "uploadMode": modes[name], "shouldIgnore": False} for name in modes]}
        if path.endswith("/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{self.address}/store/{one['oid']}"}}} for one in told["objects"]
            ]
            return {"transfer": "basic", "objects": objects}
        if path.endswith("/commit/main"):
            self.keep([json.loads(line) for line in body.splitlines()])
            return {"commitUrl": f"{self.address}/spaces/{path[12:-12]}/commit/{'1' * 40}", "commitOid": "1" * 40}
        if path.endswith("/hardware"):
            return {"stage": "BUILDING", "hardware": {"current": None, "requested": told["flavor"]}}
        return {"url": f"{self.address}/spaces/{told['organization']}/{told['name']}"} if "organization" in told else {}

    def keep(self, lines: list[dict[str, Any]]) -> None:
        """Store a commit's files."""
        files = {line["value"]["path"]: line for line in lines if line["key"] in {"file", "lfsFile"}}
        self.commit = {
            path: base64.b64decode(line["value"]["content"])
            if line["key"] == "file"
            else self.uploads[line["value"]["oid"]]
            for path, line in files.items()
        }


@contextlib.contextmanager
def serve_hub() -> Iterator[LocalHub]:
    """Run a LocalHub for a while."""
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.read_chunks() if self.headers.get("Transfer-Encoding") else self.read_length()
            status, answer = hub.answer(self.command, self.path.partition("?")[0], body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def read_length(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def read_chunks(self) -> bytes:
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        do_GET = do_PUT = do_POST  # noqa: N815  http.server finds them by these names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
