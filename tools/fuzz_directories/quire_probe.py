"""What Quire makes of a directory: the same questions as oracle.py's, asked of the program."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

START_S = 60
ANSWER_S = 120
OPTIONS = ["--port", "0", "--dtype", "float32", "--kv-cache-memory", "16MiB", "--max-num-seqs", "4",
           "--max-model-len", "128", "--swap-space", "0", "--threads", "1", "--served-model-name", "m"]  # fmt: skip


class Refused(Exception):
    """The program ended with a message."""


def message(stderr: str, code: int) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("quire: ")]
    if code < 0 or not lines:
        return f"CRASH: exit {code}: {stderr[-300:]}"
    return lines[-1].removeprefix("quire: ")


class Quire:
    def __init__(self, binary: Path) -> None:
        self._binary = binary

    def _convert(self, directory: Path, rows: list, *options: str) -> list:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        command = [str(self._binary), "tokenize", str(directory), "--jsonl", *options]
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=ANSWER_S, check=False)
        except subprocess.TimeoutExpired:
            raise Refused(f"CRASH: no answer within {ANSWER_S} s") from None
        if done.returncode != 0:
            raise Refused(message(done.stderr, done.returncode))
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return [answer.get("ids", answer.get("text")) for answer in answers]

    def tokenizer(self, directory: Path, texts: list[str], decode_ids: list[list[int]]) -> dict:
        try:
            return {
                "ids": self._convert(directory, texts, "--no-special-tokens"),
                "ids_special": self._convert(directory, texts),
                "decoded": self._convert(directory, decode_ids, "--decode"),
                "decoded_skip": self._convert(directory, decode_ids, "--decode", "--no-special-tokens"),
            }
        except Refused as refused:
            return {"error": str(refused)}

    def model(
        self, directory: Path, conversations: list, prompts: list, candidates: list[int], length: int, sampling: dict
    ) -> dict:
        """`sampling`: parameters by name, to be compared with those of a request that says nothing."""
        try:
            with Served(self._binary, directory) as served:
                return {
                    "chat": [served.chat_ids(messages) for messages in conversations],
                    "greedy": [served.greedy(prompt, length) for prompt in prompts],
                    "sampled": served.sampled(prompts[0]),
                    "sampled_with": {name: served.sampled(prompts[0], **said) for name, said in sampling.items()},
                    "stops": [token for token in candidates if served.stops_at(token, prompts[0])],
                }
        except Refused as refused:
            return {"error": str(refused)}


class Served:
    """`quire serve` while the `with` block lasts."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self._stderr = tempfile.TemporaryFile("w+")
        command = [str(binary), "serve", str(directory), *OPTIONS]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._stderr, text=True)
        self._url = ""

    def __enter__(self) -> Served:
        end = time.monotonic() + START_S
        while not self._url and time.monotonic() < end:
            line = self._process.stdout.readline()
            if not line:
                code = self._process.wait()
                self._stderr.seek(0)
                raise Refused(message(self._stderr.read(), code))
            found = re.search(r"serving \S+ at (http://\S+)", line)
            self._url = found.group(1) if found else ""
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def chat_ids(self, messages: list[dict]) -> list[int] | str:
        reply = self._post("/tokenize", {"model": "m", "messages": messages, "add_generation_prompt": True})
        return reply["tokens"] if "tokens" in reply else reply["error"]["message"]

    def _complete(self, prompt: list[int], **options: object) -> dict:
        neutral = {"temperature": 0, "repetition_penalty": 1.0, "min_p": 0, "return_token_ids": True}
        reply = self._post("/v1/completions", {"model": "m", "prompt": prompt, **neutral, **options})
        return reply["choices"][0] if "choices" in reply else {"finish_reason": "", "token_ids": reply["error"]["message"]}

    def greedy(self, prompt: list[int], length: int) -> list[int]:
        return self._complete(prompt, max_tokens=length, ignore_eos=True)["token_ids"]

    def sampled(self, prompt: list[int], **options: object) -> list[int] | str:
        """Equal for equal parameters; of a hundred tokens, hardly so for others."""
        body = {"model": "m", "prompt": prompt, "seed": 1, "max_tokens": 100, "ignore_eos": True}
        reply = self._post("/v1/completions", body | {"return_token_ids": True} | options)
        return reply["choices"][0]["token_ids"] if "choices" in reply else reply["error"]["message"]

    def stops_at(self, token: int, prompt: list[int]) -> bool:
        return self._complete(prompt, max_tokens=2, logit_bias={str(token): 100})["finish_reason"] == "stop"
