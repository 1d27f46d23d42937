#!/usr/bin/env python3
"""A closed loop of streaming clients against a server that speaks the OpenAI API (or llama.cpp's own).

Each client sends one request after another until all are done. Prompts are seeded random token ids, output lengths are
forced, sampling is greedy, so that every server gets the very same work. Prints one JSON object.
"""

import argparse
import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Request:
    prompt: list[int]
    output_len: int


@dataclass
class Outcome:
    start: float
    arrivals: list[float] = field(default_factory=list)
    output_tokens: int = 0


def make_requests(args: argparse.Namespace) -> list[Request]:
    rng = random.Random(args.seed)
    requests = []
    for _ in range(args.num_requests):
        length = rng.randint(*args.prompt_len)
        prompt = [1] + [rng.randrange(300, args.vocab_size - 1) for _ in range(length - 1)]
        requests.append(Request(prompt, rng.randint(*args.output_len)))
    return requests


def body_of(request: Request, args: argparse.Namespace) -> tuple[str, dict]:
    if args.api == "llama":
        return "/completion", {
            "prompt": request.prompt,
            "n_predict": request.output_len,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
            "temperature": 0,
        }
    return "/v1/completions", {
        "model": args.model,
        "prompt": request.prompt,
        "max_tokens": request.output_len,
        "ignore_eos": True,
        "stream": True,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }


def send(request: Request, args: argparse.Namespace) -> Outcome:
    path, body = body_of(request, args)
    outcome = Outcome(time.perf_counter())
    connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=1200)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read()[:300]!r}")
    for line in response:
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        event = json.loads(line[5:])
        now = time.perf_counter()
        if args.api == "llama":
            if event.get("stop"):
                outcome.output_tokens = event.get("tokens_predicted", 0)
            else:
                outcome.arrivals.append(now)
        else:
            if event.get("usage"):
                outcome.output_tokens = event["usage"]["completion_tokens"]
            if event.get("choices"):
                outcome.arrivals.append(now)
    connection.close()
    return outcome


def run(args: argparse.Namespace) -> dict:
    requests = iter(make_requests(args))
    lock = threading.Lock()
    outcomes: list[Outcome] = []
    errors: list[str] = []

    def client() -> None:
        while True:
            with lock:
                request = next(requests, None)
            if request is None:
                return
            try:
                outcome = send(request, args)
                with lock:
                    outcomes.append(outcome)
            except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
                with lock:
                    errors.append(repr(error))

    begin = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(args.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report(outcomes, errors, time.perf_counter() - begin)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def report(outcomes: list[Outcome], errors: list[str], wall_s: float) -> dict:
    done = [o for o in outcomes if o.arrivals]
    ttft = [o.arrivals[0] - o.start for o in done]
    gaps = [b - a for o in done for a, b in zip(o.arrivals, o.arrivals[1:])]
    output = sum(o.output_tokens for o in done)
    return {
        "completed": len(done),
        "errors": errors[:3],
        "num_errors": len(errors),
        "wall_s": round(wall_s, 2),
        "output_tokens": output,
        "output_tokens_per_s": round(output / wall_s, 2),
        "ttft_mean_ms": round(1e3 * sum(ttft) / max(1, len(ttft)), 1),
        "ttft_p99_ms": round(1e3 * percentile(ttft, 0.99), 1),
        "itl_p50_ms": round(1e3 * percentile(gaps, 0.5), 1),
        "itl_p99_ms": round(1e3 * percentile(gaps, 0.99), 1),
        "itl_max_ms": round(1e3 * max(gaps, default=float("nan")), 1),
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api", choices=["openai", "llama"], default="openai")
    parser.add_argument("--model", default="m")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--num-requests", type=int, default=64)
    parser.add_argument("--prompt-len", type=int, nargs=2, default=[100, 200], metavar=("MIN", "MAX"))
    parser.add_argument("--output-len", type=int, nargs=2, default=[64, 128], metavar=("MIN", "MAX"))
    parser.add_argument("--vocab-size", type=int, default=32000)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(run(parse_args())))
