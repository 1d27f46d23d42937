"""Speculative decoding: the very answers that there are without it, in fewer steps where a text repeats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import MODEL, MODEL_DIR, REPO, Server, run_to_exit

NGRAM = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
DRAFT_MODEL = {"model": str(REPO / "models" / "tiny-draft"), "num_speculative_tokens": 4}
STORY = "Once upon a time, a girl named Mia had a red kite. Mia flew the red kite. The red kite flew over the hill. "
REQUESTS: list[dict[str, Any]] = [
    {"prompt": STORY * 3, "max_tokens": 80, "temperature": 0},
    {"prompt": STORY, "max_tokens": 60, "temperature": 0.8, "seed": 4, "n": 3, "logprobs": 3},
    {"prompt": STORY * 2, "max_tokens": 60, "temperature": 0, "frequency_penalty": 0.3, "presence_penalty": 0.2},
    {"prompt": STORY * 2, "max_tokens": 60, "temperature": 0, "stop": ["kite flew", "hill"]},
    {"prompt": STORY, "max_tokens": 40, "temperature": 1, "seed": 9, "min_tokens": 20, "stop_token_ids": [30, 31, 32]},
    {"prompt": STORY, "max_tokens": 30, "temperature": 0, "use_beam_search": True, "n": 3},
    {"prompt": [STORY, STORY * 2, "The "], "max_tokens": 20, "temperature": 0.5, "seed": 2, "best_of": 3, "n": 1},
]


def answers(server: Server) -> list[Any]:
    replies = [server.post("/v1/completions", {"model": MODEL, **body}).json() for body in REQUESTS]
    return [(reply["choices"], reply["usage"]["completion_tokens"]) for reply in replies]


def ask_again(server: Server) -> str:
    """A question whose answer is in the conversation already: its tokens stand in the prompt."""
    messages = [{"role": "user", "content": "Tell me a story about a dragon named Otto."}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 200, "temperature": 0}
    first = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    messages += [{"role": "assistant", "content": first}, *messages]
    return server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]


@pytest.fixture
def speculating(start_server: Callable[..., Server]) -> Iterator[Callable[[dict[str, Any]], Server]]:
    def start(config: dict[str, Any]) -> Server:
        return start_server("--speculative-config", json.dumps(config))

    yield start


@pytest.mark.parametrize(
    "config",
    [NGRAM, {**NGRAM, "adaptive": False}, DRAFT_MODEL, {**DRAFT_MODEL, "adaptive": False}],
    ids=["ngram", "ngram, all", "draft model", "draft model, all"],
)
def test_answers_are_the_same(config: dict[str, Any], server: Server, speculating: Callable[..., Server]) -> None:
    assert answers(speculating(config)) == answers(server)


def test_a_text_that_repeats_takes_fewer_steps(server: Server, speculating: Callable[..., Server]) -> None:
    other = speculating({**NGRAM, "adaptive": False})
    steps, texts = [], []
    for one in (server, other):
        before = one.metric("quire_engine_steps_total")
        texts.append(ask_again(one))
        steps.append(one.metric("quire_engine_steps_total") - before)
    assert texts[1] == texts[0]
    accepted = other.metric("vllm:spec_decode_num_accepted_tokens_total")
    assert steps[1] < 0.75 * steps[0]
    assert steps[0] - steps[1] == pytest.approx(accepted, abs=5)
    assert accepted == other.metric("vllm:spec_decode_num_accepted_tokens_per_pos_total")
    assert other.metric("vllm:spec_decode_num_draft_tokens_total") >= accepted
    assert other.metric("vllm:spec_decode_num_drafts_total") > 0


def test_a_model_that_drafts_for_itself_is_right(server: Server, speculating: Callable[..., Server]) -> None:
    other = speculating({"model": str(MODEL_DIR), "num_speculative_tokens": 4, "adaptive": False})
    assert ask_again(other) == ask_again(server)
    drafted = other.metric("vllm:spec_decode_num_draft_tokens_total")
    assert drafted > 0
    assert other.metric("vllm:spec_decode_num_accepted_tokens_total") == drafted


def test_a_stream_is_the_whole_answer(server: Server, speculating: Callable[..., Server]) -> None:
    client = speculating(NGRAM).client
    options: dict[str, Any] = {"model": MODEL, "prompt": STORY * 3, "max_tokens": 60, "temperature": 0}
    whole = client.completions.create(**options).choices[0].text
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(stream=True, **options)) == whole


def test_bench_tells_what_was_accepted() -> None:
    options = ["--num-prompts", "2", "--input-len", "40", "--output-len", "60", "--json"]
    ended = run_to_exit("bench", "throughput", str(MODEL_DIR), *options, "--speculative-config", json.dumps(NGRAM))
    report = json.loads(ended.stdout)
    assert report["num_accepted_tokens"] <= report["num_draft_tokens"]
    assert 1 <= report["mean_acceptance_length"] <= 6


def test_what_is_wrong_is_named_before_anything_is_loaded() -> None:
    for config, message in [
        ("ngram", "it must be a JSON object"),
        ('{"model": "/nonexistent", "num_speculative_tokens": 2}', "/nonexistent"),
        ('{"method": "medusa", "num_speculative_tokens": 2}', "medusa"),
        ('{"method": "ngram", "num_speculative_tokens": 99}', "num_speculative_tokens is 99"),
    ]:
        ended = run_to_exit("serve", str(MODEL_DIR), "--port", "0", "--speculative-config", config)
        assert ended.returncode != 0
        assert "--speculative-config" in ended.stderr
        assert message in ended.stderr
