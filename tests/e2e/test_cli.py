"""What the command line takes, and what it makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from harness import MODEL_DIR, Server, run_to_exit
from openai import OpenAI

SMALL = ("--input-len", "4", "--output-len", "2", "--num-gpu-blocks-override", "64")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("serve", "--api-key"),
        ("serve", "--served-model-name"),
        ("serve", "--shared-prefix"),
        ("chat", "--stop"),
    ],
)
def test_an_option_leaves_the_model_that_follows_it(
    tmp_path: Path, command: str, option: str
) -> None:
    ended = run_to_exit(command, option, "value", str(tmp_path / "absent"))
    assert ended.returncode > 0
    assert str(tmp_path / "absent") in ended.stderr


def test_repeated_options_add_up(start_server: Callable[..., Server]) -> None:
    server = start_server(
        "--api-key", "one", "--served-model-name", "a",
        "--api-key", "[two]", "--served-model-name", "b", str(MODEL_DIR), key="one",
    )  # fmt: skip
    assert [model.id for model in server.client.models.list()] == ["a", "b"]
    other = OpenAI(base_url=server.base_url, api_key="[two]", max_retries=0)
    assert other.completions.create(model="b", prompt="A", max_tokens=1).choices


def test_the_key_may_come_from_the_environment(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def accepts(server: Server, key: str) -> bool:
        try:
            OpenAI(base_url=server.base_url, api_key=key, max_retries=0).models.list()
        except openai.AuthenticationError:
            return False
        return True

    monkeypatch.setenv("VLLM_API_KEY", "theirs")
    server = start_server(key="theirs")
    assert accepts(server, "theirs")
    assert not accepts(server, "none")
    monkeypatch.setenv("QUIRE_API_KEY", "ours")
    server = start_server(key="ours")
    assert accepts(server, "ours")
    assert not accepts(server, "theirs")
    server = start_server("--api-key", "given", key="given")
    assert accepts(server, "given")
    assert not accepts(server, "ours")
    assert not accepts(server, "theirs")


def bench(*options: str) -> dict[str, Any]:
    ended = run_to_exit("bench", *options, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_bench_throughput_runs_more_requests_than_a_server_would_queue() -> None:
    options = ("--max-num-seqs", "1", "--max-num-queued-reqs", "1", "--max-num-queued-tokens", "1")
    report = bench("throughput", "--num-prompts", "20", *options, *SMALL)
    assert report["completed"] == 20
    assert report["total_input_tokens"] == 20 * 4
    assert report["total_output_tokens"] == 20 * 2


def test_bench_throughput_takes_the_names_of_vllm() -> None:
    report = bench(
        "throughput", "--num-prompts", "2", "--random-input-len", "8", "--random-output-len", "3",
        "--random-range-ratio", "0.0", "--gpu-memory-utilization", "1.0", "--num-gpu-blocks-override", "64",
    )  # fmt: skip
    assert report["total_input_tokens"] == 2 * 8
    assert report["total_output_tokens"] == 2 * 3


def test_bench_latency_counts_its_batches() -> None:
    batches = ("--batch-size", "3", "--num-iters", "2", "--num-iters-warmup", "1")
    report = bench("latency", *batches, "--max-num-seqs", "1", "--max-num-queued-reqs", "1", *SMALL)
    assert report["iterations"] == 2
    assert report["avg_latency_s"] > 0


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("throughput", "--num-prompts"),
        ("throughput", "--max-concurrency"),
        ("throughput", "--input-len"),
        ("throughput", "--output-len"),
        ("latency", "--batch-size"),
        ("latency", "--num-iters"),
        ("latency", "--num-iters-warmup"),
        ("kv", "--num-prompts"),
        ("kv", "--input-len"),
        ("kv", "--output-len"),
    ],
)
@pytest.mark.parametrize("value", ["-1", "99999999999", "many"])
def test_a_count_that_cannot_be_is_named(kind: str, option: str, value: str) -> None:
    ended = run_to_exit("bench", kind, option, value)
    assert ended.returncode > 0
    assert option in ended.stderr


def test_info_tells_the_memory_plan_without_loading() -> None:
    options = ("--num-gpu-blocks-override", "64", "--dtype", "float")
    ended = run_to_exit("info", str(MODEL_DIR), *options)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^checkpoint +bfloat16$", ended.stdout, re.MULTILINE)
    assert re.search(r"^products +float32$", ended.stdout, re.MULTILINE)
    assert re.search(r"^KV per token +.* of float32$", ended.stdout, re.MULTILINE)
    assert "64 blocks of 16 tokens" in ended.stdout
