#!/usr/bin/env python3
"""What long prompts that arrive do to those who are being answered: a few streams decode all the time, and every few
seconds a prompt of 1,000 tokens comes in between. Prints the inter-token latencies of the steady streams, alone and
while prompts arrive, and how many medians the 99th percentile is.

  long_prompts.py --model DIR [--quire build/release/quire] [--streams 8] [--arrivals 20] [--interval 1.5]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import threading
import time

from compare import free_port, wait_until_ready
from load_client import Outcome, Request, percentile, send


class Steady:
    """Streams that answer short prompts, one after the other, until they are stopped."""

    def __init__(self, args: argparse.Namespace, client: argparse.Namespace):
        self.outcomes: list[Outcome] = []
        self.stopping = False
        self.threads = [
            threading.Thread(target=self.stream, args=(Request([1, 300 + i], args.output_len), client))
            for i in range(args.streams)
        ]
        for thread in self.threads:
            thread.start()

    def stream(self, request: Request, client: argparse.Namespace) -> None:
        while not self.stopping:
            self.outcomes.append(send(request, client))

    def stop(self) -> None:
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def latencies_ms(self, begin: float, end: float) -> list[float]:
        pairs = (p for o in self.outcomes for p in zip(o.arrivals, o.arrivals[1:]))
        return [1000 * (after - before) for before, after in pairs if begin <= before and after <= end]


def summary(latencies: list[float]) -> dict:
    median, p99 = statistics.median(latencies), percentile(latencies, 0.99)
    return {"tokens": len(latencies), "itl_p50_ms": round(median, 2), "itl_p99_ms": round(p99, 2),
            "p99_in_medians": round(p99 / median, 2)}  # fmt: skip


def measure(args: argparse.Namespace, port: int) -> dict:
    client = argparse.Namespace(port=port, api="openai", model="m")
    long_prompts = [[1] + [300 + (7 * i + k * 131) % 20000 for k in range(args.prompt_len - 1)] for i in range(args.arrivals)]
    for _ in range(3):
        send(Request(long_prompts[0][: args.prompt_len // 2], 16), client)  # warms up
    steady = Steady(args, client)
    time.sleep(3)
    begin = time.perf_counter()
    time.sleep(args.interval * args.arrivals / 4)
    arrives = time.perf_counter()
    first_tokens, threads = [], []

    def arrive(prompt: list[int]) -> None:
        outcome = send(Request(prompt, 16), client)
        first_tokens.append(outcome.arrivals[0] - outcome.start)

    for prompt in long_prompts:
        threads.append(threading.Thread(target=arrive, args=(prompt,)))
        threads[-1].start()
        time.sleep(args.interval)
    for thread in threads:
        thread.join()
    end = time.perf_counter()
    steady.stop()
    return {
        "streams": args.streams,
        "alone": summary(steady.latencies_ms(begin, arrives)),
        "while_prompts_arrive": summary(steady.latencies_ms(arrives, end)),
        "ttft_of_long_prompts_p50_s": round(statistics.median(first_tokens), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--quire", default="build/release/quire")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--output-len", type=int, default=200)
    parser.add_argument("--prompt-len", type=int, default=1000)
    parser.add_argument("--arrivals", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 0: all cores, some of which the clients need")
    parser.add_argument("--interval", type=float, default=1.5, help="seconds between two long prompts")
    args = parser.parse_args()
    port = free_port()
    command = [args.quire, "serve", args.model, "--port", str(port), "--max-model-len", "2048", "--served-model-name", "m",
               "--kv-cache-memory", "1GiB", "--no-enable-prefix-caching"]  # fmt: skip
    if args.threads:
        command += ["--threads", str(args.threads)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_ready(port, process)
        print(json.dumps(measure(args, port), indent=2))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
