#!/usr/bin/env python3
"""Serves one model with Quire and with peers, one after another, under the same load; prints a row for each.

  compare.py --model DIR --quire build/release/quire
             [--vllm VENV] [--llama-server PATH --gguf FILE] [--clients 16] [--num-requests 64]

Each server is warmed up first, then measured alone: one stream of 64 tokens, then the closed loop of load_client.py.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(port: int, process: subprocess.Popen, deadline_s: float = 600) -> float:
    begin = time.perf_counter()
    while time.perf_counter() - begin < deadline_s:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return time.perf_counter() - begin
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server did not become ready")


def servers(args: argparse.Namespace) -> list[tuple[str, str, list[str], dict[str, str]]]:
    """Rows of (name, api, command with {port}, environment)."""
    threads = str(args.threads)
    rows = [
        (
            "quire",
            "openai",
            [args.quire, "serve", args.model, "--port", "{port}", "--threads", threads, "--max-model-len", "4096",
             "--kv-cache-memory", "4GiB", "--served-model-name", "m"],
            {},
        )
    ]
    if args.vllm:
        environment = {
            "LD_PRELOAD": str(Path(args.vllm) / "lib" / "libiomp5.so"),
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{args.threads - 1}",
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "OMP_NUM_THREADS": threads,
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "HF_HUB_OFFLINE": "1",
        }
        command = [str(Path(args.vllm) / "bin" / "vllm"), "serve", args.model, "--port", "{port}", "--dtype",
                   "bfloat16", "--max-model-len", "4096", "--served-model-name", "m"]
        rows.append(("vllm-cpu", "openai", command, environment))
    if args.llama_server:
        command = [args.llama_server, "-m", args.gguf, "--port", "{port}", "-t", threads, "-tb", threads, "-np",
                   str(args.clients), "-c", str(512 * args.clients)]
        rows.append(("llama.cpp", "llama", command, {}))
    return rows


def load(port: int, api: str, *options: str) -> dict:
    command = [sys.executable, str(HERE / "load_client.py"), "--port", str(port), "--api", api, *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(name: str, api: str, command: list[str], environment: dict[str, str], args: argparse.Namespace) -> dict:
    port = free_port()
    log = open(f"{args.log_dir}/{name}.log", "w", encoding="utf-8")
    process = subprocess.Popen(
        [part.format(port=port) for part in command],
        env={**os.environ, **environment},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        ready_s = wait_until_ready(port, process)
        load(port, api, "--clients", "2", "--num-requests", "2", "--output-len", "8", "8", "--seed", "1")
        single = load(port, api, "--clients", "1", "--num-requests", "3", "--prompt-len", "2", "2", "--output-len", "64",
                      "64")
        served = load(port, api, "--clients", str(args.clients), "--num-requests", str(args.num_requests),
                      "--prompt-len", *map(str, args.prompt_len), "--output-len", *map(str, args.output_len))
        return {"server": name, "ready_s": round(ready_s, 2), "one_stream_tokens_per_s": round(1000 / single["itl_p50_ms"], 2),
                **served}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--quire", default="build/release/quire")
    parser.add_argument("--vllm", help="a virtual environment with vLLM's CPU build")
    parser.add_argument("--llama-server")
    parser.add_argument("--gguf")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--num-requests", type=int, default=64)
    parser.add_argument("--prompt-len", type=int, nargs=2, default=[100, 200])
    parser.add_argument("--output-len", type=int, nargs=2, default=[64, 128])
    parser.add_argument("--log-dir", default="/tmp")
    args = parser.parse_args()
    for name, api, command, environment in servers(args):
        print(json.dumps(measure(name, api, command, environment, args)), flush=True)


if __name__ == "__main__":
    main()
