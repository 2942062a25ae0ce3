"""Whether the server stays as it is under many visitors, of whom some vanish: memory, descriptors, threads and files.

Run it from the top of the repository: ``python benchmarks/soak.py`` starts ``app.py`` on a free port and asks it for
2,000 things from 50 clients at once. Most wait for their image; others close the connection while it is made, never
listen at all, break off an upload, or join as the page does and go. Every hundred requests a line tells what the
server holds. The model is that of ``CXR_MODEL``, or the embedded one. At the end all clients are gone, the line is
written once more, and the server is ended. The exit status is 1 if memory has grown by more than 5 % since the first
200 requests, if a descriptor or a thread is left, if a file is left when the server has ended, or if an answer was
not what it had to be.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTLED, SAMPLE_EVERY, GROWTH = 200, 100, 0.05
TIMEOUT_S, IDLE_S = 600, 90  # jobs that nobody listens to end after a minute
BOUNDARY = "soak"
JSON = {"Content-Type": "application/json"}
PROMPTS = ("A 55-year-old man with pneumonia", "normal chest x-ray", "A woman with cardiomegaly", "pleural effusion")


class Busy(Exception):  # noqa: N818  it is an answer
    """The server has said that it is busy: all clients are one visitor to it, who may send two files at a time."""


class Client:
    """What visitors do. Each method is one request, made in a connection of its own.

    Args:
        port: of the server.
        steps: denoising steps of each image.
    """

    def __init__(self, port: int, steps: int) -> None:
        self.port, self.steps = port, steps
        self.picture = b""  # one that the server has made
        self.outcomes: Counter[str] = Counter()

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """The whole answer to one request."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                raise Busy(content.decode())
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{path.rsplit('/', 1)[0]} answered {answer.status}: {content[:200]!r}")
            return content
        finally:
            connection.close()

    def order(self, endpoint: str, values: dict[str, object]) -> str:
        """Ask an endpoint, and return the id of the event."""
        answer = self.call("POST", f"/gradio_api/call/v2/{endpoint}", json.dumps(values).encode(), JSON)
        return str(json.loads(answer)["event_id"])

    def result(self, endpoint: str, event: str) -> list[object]:
        """Listen to an event until its end; what it gave."""
        stream = self.call("GET", f"/gradio_api/call/{endpoint}/{event}").decode()
        last = stream.strip().rsplit("\n\n", 1)[-1]
        if not last.startswith("event: complete\ndata: "):
            raise RuntimeError(f"/{endpoint} ended with {last[-300:]!r}")
        found: list[object] = json.loads(last.partition("data: ")[2])
        return found

    def wish(self, number: int) -> dict[str, object]:
        """The values of one image."""
        return {"prompt": PROMPTS[number % len(PROMPTS)], "seed": number, "num_inference_steps": self.steps}

    def wait_for_image(self, number: int) -> None:
        """As most do."""
        gallery, _, facts = self.result("generate", self.order("generate", self.wish(number)))
        assert isinstance(facts, dict)
        assert isinstance(gallery, list)
        if facts["seeds"] != [number]:
            raise RuntimeError(f"seed {number} was asked for, {facts['seeds']} came")
        if not self.picture:
            self.picture = self.call("GET", gallery[0]["image"]["url"].split(str(self.port), 1)[-1])

    def vanish_while_it_is_made(self, number: int) -> None:
        """Listen, and close the connection after the first words."""
        event = self.order("generate", {**self.wish(number), "num_images": 4})
        connection = self.connect()
        connection.request("GET", f"/gradio_api/call/generate/{event}")
        connection.getresponse().read(1)
        connection.close()

    def never_listen(self, number: int) -> None:
        """Ask and go."""
        self.order("generate", self.wish(number))

    def restore_a_picture(self, number: int) -> None:
        """Upload a picture of this server, and ask for its settings."""
        if not self.picture:
            self.wait_for_image(number)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body = head.encode() + self.picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        (path,) = json.loads(self.call("POST", "/gradio_api/upload", body, kind))
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        self.result("restore", self.order("restore", {"picture": file}))

    def break_off_an_upload(self, number: int) -> None:
        """Announce a megabyte, send a part of it and go."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n--{BOUNDARY}\r\n".encode() + b"x" * 10_000)

    def read_a_prompt(self, number: int) -> None:
        """Needs no model."""
        self.result("parse", self.order("parse", {"prompt": PROMPTS[number % len(PROMPTS)]}))

    def load_the_page_and_go(self, number: int) -> None:
        """Load the page, let it listen as it does, and close it."""
        self.call("GET", "/")
        connection = self.connect()
        connection.request("GET", f"/gradio_api/queue/data?session_hash={secrets.token_hex(5)}")
        connection.getresponse().read(1)
        connection.close()


ACTIONS: tuple[tuple[Callable[[Client, int], None], int], ...] = (  # how many of twenty
    (Client.wait_for_image, 10),
    (Client.vanish_while_it_is_made, 3),
    (Client.never_listen, 1),
    (Client.restore_a_picture, 2),
    (Client.break_off_an_upload, 1),
    (Client.read_a_prompt, 2),
    (Client.load_the_page_and_go, 1),
)


class Server:
    """``app.py`` in a process of its own, with a temporary folder of its own.

    Args:
        folder: for everything that it writes.
        clients: that may wait at the same time.
    """

    def __init__(self, folder: Path, clients: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.temp, self.said = folder / "temp", folder / "said"
        self.temp.mkdir()
        command = [sys.executable, "app.py", "--port", str(self.port), "--max-queue", str(4 * clients)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment | {"TMPDIR": str(self.temp)}, stdout=said, stderr=said
            )
        while b"CXR Studio is at" not in self.said.read_bytes():
            if self.process.poll() is not None:
                raise SystemExit(self.said.read_text(encoding="utf-8"))
            time.sleep(0.1)

    def holds(self) -> dict[str, float]:
        """Memory of the process in MB, its descriptors, threads and children, and files below its temporary folder."""
        own = Path(f"/proc/{self.process.pid}")
        resident = int((own / "statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return {
            "MB": round(resident / 2**20, 1),
            "descriptors": len(list((own / "fd").iterdir())),
            "threads": len(list((own / "task").iterdir())),
            "files": sum(path.is_file() for path in self.temp.rglob("*")),
        }

    def end(self) -> int:
        """End it as a user does; how many files are left."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return sum(path.is_file() for path in self.temp.rglob("*"))


def main() -> int:
    """Ask, watch, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000, metavar="N", help="how many (default 2,000)")
    parser.add_argument("--clients", type=int, default=50, metavar="N", help="at the same time (default 50)")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="denoising steps of each image (default 1)")
    parser.add_argument("--minutes", type=float, default=600, metavar="N", help="no request is begun after these")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name), arguments.clients)
        client = Client(server.port, arguments.steps)
        client.wait_for_image(0)  # the model is loaded, and there is a picture
        samples = ask(server, client, arguments)
        time.sleep(IDLE_S)
        samples.append(server.holds())
        show(client.outcomes.total(), samples[-1], "all clients gone")
        faults = find_faults(samples, server.end(), client.outcomes)
        said = server.said.read_text(encoding="utf-8")
    for action, count in sorted(client.outcomes.items()):
        print(f"{count:6,}  {action}")
    if "Traceback" in said:
        faults.append("the server wrote a traceback: " + said[said.index("Traceback") :][:2_000])
    for fault in faults:
        print(f"FAULT  {fault}")
    return 1 if faults else 0


def ask(server: Server, client: Client, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Make all requests; what the server held in the meantime, the first time after `SETTLED` requests."""
    actions = [action for action, times in ACTIONS for _ in range(times)]
    numbers, done, samples, started_s = iter(range(arguments.requests)), itertools.count(1), [], time.monotonic()
    end_s, lock = started_s + 60 * arguments.minutes, threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if time.monotonic() > end_s or (number := next(numbers, None)) is None:
                    return
            action = actions[number * 7 % len(actions)]  # 7 and 20 have no divisor: all come, well mixed
            try:
                action(client, number)
                outcome = action.__name__
            except Busy as busy:
                outcome = f"{action.__name__}, refused: {busy}"
            except Exception as error:  # whatever it is, it is what the outcome tells
                outcome = f"FAILED {action.__name__}: {type(error).__name__} {error}"[:300]
            with lock:
                client.outcomes[outcome] += 1
                if (count := next(done)) % SAMPLE_EVERY == 0:
                    show(count, held := server.holds(), f"{time.monotonic() - started_s:.0f} s")
                    samples.extend([held] if count >= SETTLED else [])

    threads = [threading.Thread(target=work) for _ in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return samples


def show(requests: int, held: dict[str, float], note: str) -> None:
    """One line of what the server holds."""
    facts = ", ".join(f"{value:,} {name}" for name, value in held.items())
    print(f"{requests:6,} requests: {facts}; {note}", flush=True)


def find_faults(samples: list[dict[str, float]], files_left: int, outcomes: Counter[str]) -> list[str]:
    """What is not as it has to be, in words."""
    first, last = samples[0], samples[-1]
    memory = [sample["MB"] for sample in samples]
    print(f"memory since the first {SETTLED} requests: {max(memory) / memory[0] - 1:+.1%} at most")
    print(f"{files_left} files when the server has ended")
    faults = [f"{count} times {outcome}" for outcome, count in outcomes.items() if outcome.startswith("FAILED")]
    if max(memory) > (1 + GROWTH) * memory[0]:
        faults.append(f"memory grew from {memory[0]} to {max(memory)} MB")
    faults += [
        f"{last[kind]} {kind}, {first[kind]} before" for kind in ("descriptors", "threads") if last[kind] > first[kind]
    ]
    return faults + ([f"{files_left} files are left"] if files_left else [])


if __name__ == "__main__":
    sys.exit(main())
