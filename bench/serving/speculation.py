#!/usr/bin/env python3
"""What speculative decoding gains and costs: the same requests to a server with it and to one without, in turn.

    random    prompts of random tokens, sampled at temperature 1 with fixed seeds: next to nothing can be guessed;
              at 1 and at 16 streams
    again     questions that the conversation has answered already, greedy, one stream: an answer repeats its prompt

Prints the output tokens per second of both and their ratio, medians (extremes) of --repeats pairs. Answers of both are
compared: a difference is an error.
"""

import argparse
import http.client
import json
import random
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from compare import free_port, wait_until_ready

QUESTIONS = [
    "Tell me a story about a dragon named Otto.",
    "Tell me a story about a fox who finds a lamp.",
    "Give me a JSON record of a person with a name, an age and a city.",
    "Sort these numbers: 9, 4, 7, 2, 8, 1",
    "What is 27 + 48? Explain the steps.",
    "Write the days of the week, one per line.",
]


def call(port: int, path: str, body: dict) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1200)
    connection.request("POST", path, json.dumps({"model": "m", **body}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {answer}")
    return answer


def random_requests(args: argparse.Namespace, num_requests: int) -> list[tuple[str, dict]]:
    rng = random.Random(1)
    return [
        (
            "/v1/completions",
            {
                "prompt": [rng.randrange(args.vocab_size) for _ in range(64)],
                "max_tokens": args.output_len,
                "ignore_eos": True,
                "temperature": 1,
                "seed": i,
                "return_token_ids": True,
            },
        )
        for i in range(num_requests)
    ]


def again_requests(port: int, args: argparse.Namespace) -> list[tuple[str, dict]]:
    requests = []
    for question in QUESTIONS:
        asked = {"role": "user", "content": question}
        body = {"messages": [asked], "max_tokens": args.output_len, "temperature": 0}
        answer = call(port, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
        again = [asked, {"role": "assistant", "content": answer}, asked]
        requests.append(("/v1/chat/completions", {**body, "messages": again}))
    return requests


def serve(port: int, requests: list[tuple[str, dict]], num_streams: int) -> tuple[float, list]:
    """Output tokens per second, and the answers."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(num_streams) as pool:
        answers = list(pool.map(lambda request: call(port, *request), requests))
    wall_s = time.perf_counter() - begin
    tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    return tokens / wall_s, [answer["choices"] for answer in answers]


def start(args: argparse.Namespace, *options: str) -> tuple[subprocess.Popen, int]:
    port = free_port()
    command = [args.quire, "serve", args.model, "--port", str(port), "--served-model-name", "m"]
    command += ["--log-level", "warning", *args.serve_option, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until_ready(port, process)
    return process, port


def compare(name: str, ports: list[int], requests: list[tuple[str, dict]], num_streams: int, repeats: int) -> None:
    rates: list[list[float]] = [[], []]
    answers: list[list] = [[], []]
    for repeat in range(-1, repeats):  # one to warm up
        for i in (0, 1) if repeat % 2 == 0 else (1, 0):
            rate, answers[i] = serve(ports[i], requests, num_streams)
            if repeat >= 0:
                rates[i].append(rate)
        if answers[0] != answers[1]:
            raise SystemExit(f"{name}: the answers differ")
    ratios = [with_drafts / plain for plain, with_drafts in zip(*rates)]
    print(
        f"{name:12} {statistics.median(rates[0]):9.1f} {statistics.median(rates[1]):9.1f} tokens/s, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", default="build/release/quire")
    parser.add_argument("--model", default="models/tiny")
    parser.add_argument("--config", default='{"method": "ngram", "num_speculative_tokens": 5, '
                        '"prompt_lookup_max": 4, "prompt_lookup_min": 2}')  # fmt: skip
    parser.add_argument("--serve-option", action="append", default=[], help="such as --serve-option=--threads=2")
    parser.add_argument("--vocab-size", type=int, default=1280, help="of which random prompts are made")
    parser.add_argument("--output-len", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    servers = [start(args), start(args, "--speculative-config", args.config)]
    ports = [port for _, port in servers]
    try:
        compare("random, 1", ports, random_requests(args, 4), 1, args.repeats)
        compare("random, 16", ports, random_requests(args, 32), 16, args.repeats)
        compare("again, 1", ports, again_requests(ports[0], args), 1, args.repeats)
    finally:
        for process, _ in servers:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
