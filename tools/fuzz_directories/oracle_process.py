"""oracle.py, kept running in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path


class Oracle:
    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("oracle.py")
        self._process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._read()["version"]

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"an oracle ended with {self._process.wait()}: run {self._process.args} by hand to see why")
        return json.loads(line)

    def _ask(self, **job: object) -> dict:
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = self._read()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def probe(self, directory: Path, texts: list, conversations: list, decode_ids: list | None) -> dict:
        questions = {"texts": texts, "conversations": conversations, "decode_ids": decode_ids}
        return self._ask(op="probe", path=str(directory), **questions)

    def save(self, directory: Path, out: Path, model: dict, tokenizer: dict) -> None:
        self._ask(op="save", path=str(directory), out=str(out), model=model, tokenizer=tokenizer)
