"""What callers and operators are told when something is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from harness import MODEL, MODEL_DIR, Server, run_to_exit
from openai import OpenAI

PROMPT = "Once upon a time"
CONTEXT = 2048

BAD_COMPLETION_FIELDS = [
    ("temperature", {"temperature": -1}),
    ("top_p", {"top_p": 2}),
    ("n", {"n": 0}),
    ("max_tokens", {"max_tokens": -1}),
    ("max_tokens", {"max_tokens": CONTEXT}),
    ("presence_penalty", {"presence_penalty": 5}),
    ("frequency_penalty", {"frequency_penalty": -3}),
    ("logprobs", {"logprobs": 100000}),
    ("logit_bias", {"logit_bias": {"1000000": 1}}),
    ("logit_bias", {"logit_bias": {"7": 1, "07": 1}}),
    ("stop", {"stop": [""]}),
    ("stop", {"stop": ["x"] * 129}),
    ("stop", {"stop": ["x" * 17000]}),
    ("stop_token_ids", {"extra_body": {"stop_token_ids": list(range(1025))}}),
    ("seed", {"extra_body": {"seed": "four"}}),
    ("stream", {"extra_body": {"stream": "maybe"}}),
    ("top_k", {"extra_body": {"top_k": -5}}),
    ("min_tokens", {"extra_body": {"min_tokens": 10}, "max_tokens": 5}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("n", {"n": 129}),
    ("best_of", {"n": 3, "best_of": 2}),
    ("best_of", {"best_of": 2, "temperature": 0}),
    ("best_of", {"best_of": 2, "stream": True}),
    ("beam_width", {"extra_body": {"beam_width": 4}}),
    ("beam_width", {"n": 4, "extra_body": {"use_beam_search": True, "beam_width": 2}}),
    ("length_penalty", {"extra_body": {"length_penalty": 2}}),
    ("early_stopping", {"extra_body": {"use_beam_search": True, "early_stopping": "maybe"}}),
    ("temperature", {"temperature": 0.7, "extra_body": {"use_beam_search": True}}),
    ("top_p", {"top_p": 0.5, "extra_body": {"use_beam_search": True}}),
    ("top_k", {"extra_body": {"use_beam_search": True, "top_k": 5}}),
    ("presence_penalty", {"presence_penalty": 1, "extra_body": {"use_beam_search": True}}),
    ("logit_bias", {"logit_bias": {"5": 1}, "extra_body": {"use_beam_search": True}}),
    ("prompt", {"prompt": []}),
    ("prompt", {"prompt": [1000000]}),
    ("prompt", {"prompt": [-1]}),
    ("prompt", {"prompt": {"text": "x"}}),
]


@pytest.mark.parametrize(("field", "options"), BAD_COMPLETION_FIELDS)
def test_a_bad_completion_field_is_named(
    client: OpenAI, field: str, options: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": MODEL, "prompt": PROMPT, **options})
    assert caught.value.param == field
    assert field in caught.value.message
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("messages", {"messages": []}),
        ("messages", {"messages": "hello"}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 100000}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("response_format", {"response_format": {"type": "json_object"}}),
    ],
)
def test_a_bad_chat_field_is_named(client: OpenAI, field: str, options: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "Hello."}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": messages, **options})
    assert caught.value.param == field
    assert field in caught.value.message


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-none", prompt=PROMPT)
    assert "gpt-none" in caught.value.message
    assert MODEL in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-none")


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=[5] * 3000, max_tokens=1)
    assert caught.value.code == "context_length_exceeded"
    assert str(CONTEXT) in caught.value.message
    assert "3000" in caught.value.message


@pytest.mark.parametrize("body", [b"{", b"", b"[1, 2]", b'{"model": "tiny", "prompt": "\xff"}'])
def test_malformed_json_is_a_bad_request(server: Server, body: bytes) -> None:
    reply = server.post("/v1/completions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_bodies_of_very_many_members_are_refused_with_the_limit(server: Server) -> None:
    body = json.dumps({"prompt": PROMPT, "logit_bias": {str(id): 0 for id in range(500_000)}})
    reply = server.post("/v1/completions", content=body.encode())
    assert reply.status_code == 400
    assert "16384" in reply.json()["error"]["message"]


def test_unknown_routes_and_methods_are_told(server: Server) -> None:
    assert server.get("/v2/nothing").status_code == 404
    assert "error" in server.get("/v2/nothing").json()
    assert server.get("/v1/completions").status_code == 405


def test_the_key_is_required_but_not_for_health(start_server: Callable[..., Server]) -> None:
    server = start_server("--api-key", "right", key="right")
    assert [model.id for model in server.client.models.list()] == [MODEL]
    wrong = OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        wrong.completions.create(model=MODEL, prompt=PROMPT)
    assert "right" not in caught.value.message
    assert server.get("/v1/models").status_code == 401
    assert server.get("/metrics").status_code == 401
    assert server.get("/health").status_code == 200
    assert server.get("/ping").status_code == 200


def test_a_full_queue_turns_requests_away(start_server: Callable[..., Server]) -> None:
    server = start_server("--max-num-seqs", "1", "--max-num-queued-reqs", "1")
    ask = server.client.completions.create
    long: dict[str, Any] = {"max_tokens": 2000, "extra_body": {"ignore_eos": True}}
    running = ask(model=MODEL, prompt=PROMPT, stream=True, **long)
    next(running)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, model=MODEL, prompt=PROMPT, max_tokens=3)
        server.wait_for_metric("vllm:num_requests_waiting", 1)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(model=MODEL, prompt=PROMPT, max_tokens=3)
        assert int(caught.value.response.headers["Retry-After"]) >= 1
        running.close()
        assert waiting.result(timeout=20).choices[0].finish_reason in ("length", "stop")
    assert ask(model=MODEL, prompt=PROMPT, max_tokens=3).choices


def test_more_waiting_tokens_than_may_are_turned_away(start_server: Callable[..., Server]) -> None:
    server = start_server("--max-num-seqs", "1", "--max-num-queued-tokens", "20")
    ask = server.client.completions.create
    running = ask(
        model=MODEL, prompt=PROMPT, stream=True, max_tokens=2000, extra_body={"ignore_eos": True}
    )
    next(running)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, model=MODEL, prompt=[5] * 15, max_tokens=3)
        server.wait_for_metric("quire_num_queued_tokens", 15)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(model=MODEL, prompt=[5] * 6, max_tokens=3)
        assert int(caught.value.response.headers["Retry-After"]) >= 1
        running.close()
        assert waiting.result(timeout=20).choices


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--kv-policy", "reserve-some"),
        ("--batching", "dynamic"),
        ("--scheduling-policy", "random"),
        ("--preemption-mode", "kill"),
        ("--swap-space", "lots"),
        ("--prefix-cache-disk", "none"),
        ("--max-num-queued-tokens", "-1"),
        ("--kv-cache-memory", "lots"),
        ("--kv-cache-dtype", "int3"),
        ("--gpu-memory-utilization", "1.1"),
    ],
)
def test_a_bad_option_is_named(option: str, value: str) -> None:
    ended = run_to_exit("serve", "--port", "0", option, value)
    assert ended.returncode > 0
    assert option in ended.stderr


def test_a_prefix_cache_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    ended = run_to_exit("serve", "--port", "0", "--prefix-cache-dir", str(file))
    assert ended.returncode > 0
    assert str(file) in ended.stderr


def test_a_port_in_use_is_named(server: Server) -> None:
    ended = run_to_exit("serve", "--port", str(server.port))
    assert ended.returncode != 0
    assert str(server.port) in ended.stderr


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    model = tmp_path / "cut"
    shutil.copytree(MODEL_DIR, model)
    weights = model / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    ended = run_to_exit("serve", str(model), "--port", "0")
    assert ended.returncode > 0
    assert "model.safetensors" in ended.stderr


def test_a_model_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    ended = run_to_exit("serve", str(tmp_path / "absent"), "--port", "0")
    assert ended.returncode > 0
    assert str(tmp_path / "absent") in ended.stderr


@pytest.mark.parametrize("length", ["4096", "100000000"])
def test_a_context_beyond_the_model_is_refused_with_the_numbers(length: str) -> None:
    ended = run_to_exit("serve", "--port", "0", "--max-model-len", length)
    assert ended.returncode > 0
    assert length in ended.stderr
    assert str(CONTEXT) in ended.stderr
