"""Where the KV cache's memory is: /debug/kv, preemption, the prefix cache in memory and on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import MODEL, Server, run_to_exit, wait_for
from openai import OpenAI

BLOCK = 16
LONG: dict[str, Any] = {"max_tokens": 1500, "extra_body": {"ignore_eos": True}}
STORY = "The quick brown fox jumps over the lazy dog and runs into the forest. " * 8


def cached_tokens(client: OpenAI, prompt: Any, **extra: Any) -> int:
    answer = client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=1, temperature=0, extra_body=extra
    )
    return answer.usage.prompt_tokens_details.cached_tokens


def assert_adds_up(kv: dict[str, Any]) -> None:
    assert sum(kv["slots"].values()) == kv["total_slots"] == kv["num_blocks"] * kv["block_size"]
    assert 0 <= kv["waste_pct"] <= 100


def test_every_slot_is_somewhere(client: OpenAI, server: Server) -> None:
    assert_adds_up(server.get("/debug/kv").json())
    stream = client.completions.create(model=MODEL, prompt=STORY, n=3, stream=True, **LONG)
    next(stream)
    kv = server.get("/debug/kv").json()
    assert_adds_up(kv)
    request = kv["requests"][0]
    assert request["id"].startswith("cmpl-")
    assert request["state"] == "running"
    assert len(request["sequences"]) == 3
    num_shared = len(server.tokenize(STORY)) // BLOCK
    assert all(sequence["shared_blocks"] >= num_shared for sequence in request["sequences"])
    first, *others = (sequence["blocks"][:num_shared] for sequence in request["sequences"])
    assert all(other == first for other in others)
    assert kv["shared_slots"] >= 2 * num_shared * BLOCK
    assert kv["slots"]["token"] > 0
    stream.close()
    server.wait_for_metric("vllm:num_requests_running", 0)
    kv = server.get("/debug/kv").json()
    assert_adds_up(kv)
    assert kv["requests"] == []
    assert kv["slots"]["token"] == kv["slots"]["reserved"] == kv["waste_pct"] == 0
    assert server.metric("quire_kv_slots") == kv["total_slots"]
    assert server.metric("quire_kv_slot_seconds_total") > 0


def test_the_prefix_cache_is_reset_unless_it_is_in_use(start_server: Callable[..., Server]) -> None:
    server = start_server()
    assert cached_tokens(server.client, STORY) == 0
    assert cached_tokens(server.client, STORY) > 0
    stream = server.client.completions.create(model=MODEL, prompt="A", stream=True, **LONG)
    next(stream)
    refused = server.post("/reset_prefix_cache")
    assert refused.status_code == 409
    assert "in use" in refused.json()["error"]["message"]
    stream.close()
    server.wait_for_metric("vllm:num_requests_running", 0)
    assert server.post("/reset_prefix_cache").status_code == 200
    assert cached_tokens(server.client, STORY) == 0


def test_a_request_may_keep_out_of_the_prefix_cache(start_server: Callable[..., Server]) -> None:
    client = start_server().client
    assert cached_tokens(client, STORY, cache_prompt=False) == 0
    assert cached_tokens(client, STORY) == 0, "nothing was written"
    assert cached_tokens(client, STORY) > 0
    assert cached_tokens(client, STORY, skip_reading_prefix_cache=True) == 0
    assert cached_tokens(client, STORY, cache_salt="mine") == 0
    assert cached_tokens(client, STORY, cache_salt="mine") > 0


@pytest.mark.parametrize("mode", ["recompute", "swap"])
def test_preempted_answers_are_the_same(
    client: OpenAI, start_server: Callable[..., Server], tmp_path: Path, mode: str
) -> None:
    options = ("--num-gpu-blocks-override", "24", "--max-model-len", "256")
    server = start_server(*options, "--preemption-mode", mode, "--swap-dir", str(tmp_path))

    def ask(asked: OpenAI, seed: int) -> list[str]:
        answer = asked.completions.create(
            model=MODEL,
            prompt=f"Story {seed}:",
            seed=seed,
            temperature=1,
            n=1 + seed % 3,
            max_tokens=70,
            extra_body={"ignore_eos": True},
        )
        return [choice.text for choice in answer.choices]

    alone = [ask(client, seed) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        crowded = list(pool.map(lambda seed: ask(server.client, seed), range(12)))
    assert crowded == alone
    by_mode = dict(
        re.findall(r'quire_preemptions_total\{.*mode="(\w+)".*\} (\d+)', server.get("/metrics").text)
    )
    assert int(by_mode[mode]) > 0
    assert server.metric("vllm:num_preemptions_total") == sum(map(int, by_mode.values()))
    assert re.search(rf"request_preempted id=cmpl-\w+ mode={mode} reason=", server.log())
    if mode == "swap":
        assert server.metric("quire_swapped_out_blocks_total") > 0
        assert server.metric("quire_swapped_in_blocks_total") > 0
    assert server.metric("quire_swap_failures_total") == 0
    assert_adds_up(server.get("/debug/kv").json())


@pytest.mark.parametrize(
    "options",
    [
        ("--kv-policy", "reserve-max"),
        ("--kv-policy", "reserve-pow2"),
        ("--kv-policy", "reserve-exact"),
        ("--batching", "static"),
        ("--scheduling-policy", "priority", "--fair"),
    ],
)
def test_policies_change_no_answer(
    client: OpenAI, start_server: Callable[..., Server], options: tuple[str, ...]
) -> None:
    server = start_server("--max-model-len", "256", "--num-gpu-blocks-override", "64", *options)

    def ask(asked: OpenAI, seed: int) -> list[str]:
        answer = asked.completions.create(
            model=MODEL, prompt=f"Story {seed}:", seed=seed, temperature=1, n=2, max_tokens=30,
            user=f"user {seed % 2}", extra_body={"priority": seed % 3},
        )  # fmt: skip
        return [choice.text for choice in answer.choices]

    alone = [ask(client, seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        crowded = list(pool.map(lambda seed: ask(server.client, seed), range(6)))
    assert crowded == alone
    assert_adds_up(server.get("/debug/kv").json())


def disk_server(start_server: Callable[..., Server], directory: Path) -> Server:
    return start_server(
        "--num-gpu-blocks-override", "48", "--max-model-len", "512", "--prefix-cache-dir", str(directory),
        "--prefix-cache-disk", "64MiB",
    )  # fmt: skip


def answer_to(client: OpenAI, prompt: str) -> tuple[str, int]:
    answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=20, temperature=0)
    return answer.choices[0].text, answer.usage.prompt_tokens_details.cached_tokens


def fill_disk(server: Server) -> list[str]:
    """Prompts that together are more than memory holds, so that the first ones go to disk."""
    prompts = [f"Story {number}. " + STORY for number in range(8)]
    for _ in range(2):
        for prompt in prompts:
            answer_to(server.client, prompt)
    assert server.metric("quire_kv_disk_slots") > 0
    return prompts


def test_prefixes_survive_a_restart(
    client: OpenAI, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    first = disk_server(start_server, tmp_path)
    prompts = fill_disk(first)
    first.close()
    assert list(tmp_path.rglob("*.kv"))
    second = disk_server(start_server, tmp_path)
    answers = [answer_to(second.client, prompt) for prompt in prompts]
    assert [text for text, _ in answers] == [answer_to(client, prompt)[0] for prompt in prompts]
    assert sum(cached for _, cached in answers) > 0
    assert re.search(r'quire_disk_blocks_total\{.*event="loaded".*\} [1-9]', second.get("/metrics").text)


def test_what_memory_had_room_for_survives_a_restart_too(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    prompt = "Once more. " + STORY
    first = disk_server(start_server, tmp_path)
    said, _ = answer_to(first.client, prompt)
    assert not list(tmp_path.rglob("*.kv")), "memory has room"
    first.signal()
    first.wait()
    assert re.search(r"prefix_cache_stored blocks=[1-9]\d* failed=0 .*complete=true", first.log())
    first.close()
    second = disk_server(start_server, tmp_path)
    text, cached = answer_to(second.client, prompt)
    assert text == said
    assert cached >= 16


def test_damaged_files_are_skipped_and_counted(
    client: OpenAI, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    first = disk_server(start_server, tmp_path)
    prompts = fill_disk(first)
    first.close()
    for file in tmp_path.rglob("*.kv"):
        contents = bytearray(file.read_bytes())
        contents[len(contents) // 2] ^= 1
        file.write_bytes(contents)
    second = disk_server(start_server, tmp_path)
    for prompt in prompts:
        assert answer_to(second.client, prompt)[0] == answer_to(client, prompt)[0]
    metrics = second.get("/metrics").text
    assert re.search(r'quire_disk_blocks_total\{.*event="load_failed".*\} [1-9]', metrics)
    assert re.search(r'quire_disk_blocks_total\{.*event="loaded".*\} 0', metrics)


def test_a_shared_prefix_stays(start_server: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "prefix.txt"
    file.write_text(STORY)
    server = start_server("--shared-prefix", str(file))
    num_blocks = len(server.tokenize(STORY)) // BLOCK
    assert server.get("/debug/kv").json()["num_pinned_blocks"] == num_blocks
    assert f"{num_blocks} blocks" in server.printed()
    assert server.post("/reset_prefix_cache").status_code == 200
    assert cached_tokens(server.client, STORY + " Then") >= (num_blocks - 1) * BLOCK
    assert server.metric("quire_kv_pinned_blocks") == num_blocks


def test_a_shared_prefix_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Hi")
    ended = run_to_exit("serve", "--port", "0", "--shared-prefix", str(short))
    assert ended.returncode > 0
    assert "at least one KV block" in ended.stderr
    long = tmp_path / "long.txt"
    long.write_text(STORY * 40)
    ended = run_to_exit("serve", "--port", "0", "--shared-prefix", str(long))
    assert ended.returncode > 0
    assert "maximum context length" in ended.stderr
    ended = run_to_exit("serve", "--port", "0", "--shared-prefix", str(tmp_path / "absent"))
    assert ended.returncode > 0
    assert "absent" in ended.stderr


def test_bench_kv_accounts_for_the_pool() -> None:
    ended = run_to_exit(
        "bench", "kv", "--json", "--workload", "alpaca", "--num-prompts", "20", "--n", "2",
        "--num-gpu-blocks-override", "64",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    in_pool = ("token", "reserved", "internal", "external", "cached", "free")
    assert abs(sum(report["slots"][name]["mean_pct"] for name in in_pool) - 100) < 1e-6
    assert 0 < report["waste_pct"] < 100
    assert report["completed"] == 20
    assert report["shared_savings_pct"] > 0


def resident_bytes(server: Server, key: str = "VmRSS") -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024


def test_memory_of_the_cache_is_taken_at_the_start_if_asked(
    start_server: Callable[..., Server],
) -> None:
    cache_bytes = 256 << 20
    lazy = start_server("--kv-cache-memory", str(cache_bytes))
    assert resident_bytes(lazy) < cache_bytes
    server = start_server("--kv-cache-memory", str(cache_bytes), "--kv-populate", "--mlock")
    wait_for("the cache's memory", lambda: "kv_populated" in server.log() or None)
    assert resident_bytes(server) > cache_bytes
    if "memory_not_locked" in server.log():
        assert "ulimit -l" in server.log()
        assert resident_bytes(server, "VmLck") == 0
    else:
        assert resident_bytes(server, "VmLck") > cache_bytes
    assert server.client.completions.create(model=MODEL, prompt=STORY, max_tokens=2).choices
