"""A `quire serve` process, and the waiting and measuring that tests share."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from openai import OpenAI

REPO = Path(__file__).resolve().parents[2]
MODEL_DIR = REPO / "models" / "tiny"
MODEL = "tiny"
DEADLINE_S = 20.0

T = TypeVar("T")


def binary() -> Path:
    path = Path(os.environ.get("QUIRE_BINARY", "build/release/quire"))
    return path if path.is_absolute() else REPO / path


def wait_for(what: str, probe: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """The first true value of `probe`, which is asked until the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = probe()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {deadline_s} s for {what}")


def run_to_exit(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A `quire` that is expected to end by itself."""
    return subprocess.run(
        [str(binary()), *arguments],
        capture_output=True, text=True, input=stdin, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


class Terminal:
    """A `quire` that has a terminal of its own, and what that shows."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = os.openpty()
        self._unread = ""

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [str(binary()), *arguments], stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, preexec_fn=take_terminal, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(slave)

    def type(self, text: str) -> None:
        data = text.encode()
        while data:  # a terminal takes no more than its program has room for
            self._read_some(0)
            if select.select([], [self._master], [], 1)[1]:
                data = data[os.write(self._master, data[:512]) :]

    def wait_for(self, text: str) -> None:
        """Waits until the terminal shows the text, and forgets what it showed up to its end."""
        wait_for(f"the terminal to show {text!r}", lambda: text in self._read_some(0.01))
        self._unread = self._unread.split(text, 1)[1]

    def _read_some(self, patience_s: float) -> str:
        if select.select([self._master], [], [], patience_s)[0]:
            try:
                self._unread += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # the program has ended
                pass
        return self._unread

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def eos_ids() -> list[int]:
    """The tokens that end an answer; the first is the one that ends a chat turn."""
    config = json.loads((MODEL_DIR / "generation_config.json").read_text())
    ids = config["eos_token_id"]
    return ids if isinstance(ids, list) else [ids]


class Server:
    """Serves the embedded model on a free port from construction to `close`."""

    def __init__(self, *options: str, key: str = "none") -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="quire-e2e-")
        self._stdout = Path(self._logs.name) / "stdout"
        self._stderr = Path(self._logs.name) / "stderr"
        command = [str(binary()), "serve", "--port", "0", "--kv-cache-memory", "128MiB", *options]
        with self._stdout.open("w") as out, self._stderr.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        self.url = wait_for("the address on stdout", self._find_url)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.base_url = self.url + "/v1"
        wait_for("/health", lambda: self.get("/health").status_code == 200)
        self.client = OpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=30)

    def _find_url(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended at once:\n{self.log()}")
        found = re.search(r"serving \S+ at (http://\S+)", self._stdout.read_text())
        return found.group(1) if found else None

    def log(self) -> str:
        return self._stderr.read_text()

    def printed(self) -> str:
        return self._stdout.read_text()

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **arguments)

    def post(self, path: str, body: Any = None, **arguments: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30, **arguments)

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        reply = self.post("/tokenize", {"prompt": text, "add_special_tokens": special})
        assert reply.status_code == 200, reply.text
        return reply.json()["tokens"]

    def detokenize(self, ids: list[int]) -> str:
        reply = self.post("/detokenize", {"tokens": ids})
        assert reply.status_code == 200, reply.text
        return reply.json()["prompt"]

    def metric(self, name: str) -> float:
        """The sum over all series of the metric."""
        lines = self.get("/metrics").text.splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if re.match(name + r"[{ ]", line)]
        assert values, f"/metrics lacks {name}"
        return sum(float(value) for value in values)

    def wait_for_metric(self, name: str, value: float) -> None:
        wait_for(f"{name} to be {value}", lambda: self.metric(name) == value)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        return self.process.wait(timeout=deadline_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.signal()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.wait()
        self.client.close()
        self._logs.cleanup()


def text_of(stream: Iterator[Any]) -> str:
    """What a stream of completion or chat chunks says."""
    pieces: list[str] = []
    for chunk in stream:
        for choice in chunk.choices:
            delta = getattr(choice, "delta", None)
            pieces.append((delta.content if delta is not None else choice.text) or "")
    return "".join(pieces)
