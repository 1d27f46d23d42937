"""What the command line takes, and what it makes of it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from harness import DEADLINE_S, MODEL_DIR, Server, binary, run_to_exit
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
    assert re.search(r"^weights on disk +BF16 1.81 MiB$", ended.stdout, re.MULTILINE)
    assert re.search(r"^products +float32$", ended.stdout, re.MULTILINE)
    assert re.search(r"^KV per token +.* of float32$", ended.stdout, re.MULTILINE)
    assert "64 blocks of 16 tokens" in ended.stdout


def names(server: Server) -> list[str]:
    return [model.id for model in server.client.models.list()]


def test_a_start_line_of_vllm_serves(start_server: Callable[..., Server]) -> None:
    server = start_server(
        "--model", str(MODEL_DIR), "--served-model-name", "a", "b", "--tensor-parallel-size", "1",
        "--dtype", "half", "--max_model_len", "1k", "--enforce-eager", "-O3", "--swap-space", "0",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--disable-log-requests",
    )  # fmt: skip
    assert names(server) == ["a", "b"]
    ignored = [line for line in server.log().splitlines() if "options_without_effect" in line]
    assert len(ignored) == 1
    for option in ("--enforce-eager", "-O", "--tool-call-parser", "--disable-log-requests"):
        assert option in ignored[0]
    assert "tensor-parallel" not in ignored[0]
    assert "dtype=half used=bfloat16" in server.log()
    answer = server.client.completions.create(model="b", prompt="A", max_tokens=2, temperature=0)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2
    assert next(iter(server.client.models.list())).model_dump()["max_model_len"] == 1000


def test_a_seed_makes_answers_repeatable_in_their_order(start_server: Callable[..., Server]) -> None:
    def answers(seed: str) -> list[str]:
        client = start_server("--seed", seed).client
        ask = {"model": "tiny", "prompt": "Once", "max_tokens": 16, "temperature": 1.5}
        return [client.completions.create(**ask).choices[0].text for _ in range(2)]

    first = answers("7")
    assert first[0] != first[1]
    assert answers("7") == first
    assert answers("8") != first


def test_a_configuration_file_gives_options(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text(f"model: {MODEL_DIR}\nserved-model-name: [a, b]\nport: 1\nenforce_eager: true\n")
    assert names(start_server("--config", str(config))) == ["a", "b"]


def test_sampling_defaults_may_be_overridden(start_server: Callable[..., Server]) -> None:
    server = start_server("--override-generation-config", '{"temperature": 0, "max_new_tokens": 3}')
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me a story."}]}
    answers = [server.client.chat.completions.create(**ask) for _ in range(3)]
    assert {answer.usage.completion_tokens for answer in answers} == {3}
    assert len({answer.choices[0].message.content for answer in answers}) == 1


def test_a_chat_template_may_be_given_itself(start_server: Callable[..., Server]) -> None:
    server = start_server("--chat-template", "{{ messages[0].content }}\\nand so on")
    reply = server.post("/tokenize", {"messages": [{"role": "user", "content": "A story"}]})
    assert server.detokenize(reply.json()["tokens"]) == "A story\nand so on"


@pytest.mark.parametrize(
    ("value", "reason"),
    [("[1]", "must be a JSON object"), ('{"top_p": 2}', "top_p is 2"), ('{"x": 1}', "x is not known")],
)
def test_a_bad_override_is_named(value: str, reason: str) -> None:
    ended = run_to_exit("serve", "--port", "0", "--override-generation-config", value)
    assert ended.returncode > 0
    assert "--override-generation-config" in ended.stderr
    assert reason in ended.stderr


def test_a_used_port_is_found_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_to_exit("serve", "/absent/model", "--port", str(port))
    assert ended.returncode > 0
    assert f"port {port} of 127.0.0.1 is in use" in ended.stderr
    assert "--port" in ended.stderr
    assert "absent" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("serve", "--help"),
        ("info", str(MODEL_DIR)),
        ("tokenize", str(MODEL_DIR)),
        ("run", str(MODEL_DIR), "Once", "--max-tokens", "2"),
        ("chat", "--max-tokens", "2"),
        ("bench", "latency", "--batch-size", "1", "--num-iters", "1", *SMALL),
        ("bench", "kv", "--num-prompts", "1", "--length-scale", "0.01", *SMALL[4:]),
    ],
)
def test_output_that_cannot_be_written_is_an_error(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [str(binary()), *arguments],
            stdout=full, stderr=subprocess.PIPE, input="Once", text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "cannot write to standard output: No space left on device" in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("serv",)])
def test_the_commands_are_shown_where_one_is_missing(arguments: tuple[str, ...]) -> None:
    ended = run_to_exit(*arguments)
    assert ended.returncode > 0
    assert "tokenize" in ended.stderr
    assert ("did you mean serve?" in ended.stderr) == bool(arguments)


def test_memory_for_the_cache_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    assert re.search(r"KV cache +1\.00 GiB", run_to_exit("info").stdout)
    assert re.search(r"KV cache +2\.00 MiB", run_to_exit("info", "--kv-cache-memory", "2MiB").stdout)
