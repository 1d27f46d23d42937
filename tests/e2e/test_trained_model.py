"""A trained model, served from its GGUF file: its answers are those of Transformers, token for token."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness import REPO, Server

NAME = "smollm2"
GOLDEN = json.loads((REPO / "tests" / "goldens" / "smollm2.json").read_text(encoding="utf-8"))
PROMPTS: list[dict[str, Any]] = GOLDEN["prompts"]
TEXTS = (REPO / "tests" / "goldens" / "smollm2_texts.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def smollm2(smollm2_file: str) -> Iterator[Server]:
    server = Server(smollm2_file, "--served-model-name", NAME, "--dtype", "float32")
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def smollm2_as_usual(smollm2_file: str) -> Iterator[Server]:
    server = Server(smollm2_file, "--served-model-name", NAME)
    try:
        yield server
    finally:
        server.close()


def perplexity(server: Server, text: str) -> float:
    answer = server.client.with_options(timeout=120).completions.create(
        model=NAME, prompt=text, echo=True, logprobs=1, max_tokens=0
    )
    scores = answer.choices[0].logprobs.token_logprobs[1:]  # nothing is before the first
    return math.exp(-sum(scores) / len(scores))


def answer(server: Server, prompt: dict[str, Any]) -> Any:
    return server.client.with_options(timeout=120).chat.completions.create(
        model=NAME,
        messages=prompt["messages"],
        temperature=0,
        max_tokens=GOLDEN["max_new_tokens"],
        extra_body={"return_token_ids": True},
    )


def test_a_trained_models_texts_are_tokenized_as_by_transformers(smollm2: Server) -> None:
    for line in TEXTS:
        golden = json.loads(line)
        reply = smollm2.post("/tokenize", {"model": NAME, "prompt": golden["text"], "add_special_tokens": False})
        assert reply.json()["tokens"] == golden["ids"], golden["text"]


def test_a_trained_models_chats_are_tokenized_as_by_transformers(smollm2: Server) -> None:
    for prompt in PROMPTS:
        reply = smollm2.post("/tokenize", {"model": NAME, "messages": prompt["messages"]})
        assert reply.json()["tokens"] == prompt["prompt_ids"]


def test_a_trained_models_answers_are_those_of_transformers(smollm2: Server) -> None:
    """All at once, so that they share steps and the blocks of what they have in common."""
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers = list(pool.map(lambda prompt: answer(smollm2, prompt), PROMPTS))
    for prompt, reply in zip(PROMPTS, answers, strict=True):
        (choice,) = reply.choices
        assert reply.prompt_token_ids == prompt["prompt_ids"]
        assert choice.token_ids == prompt["greedy_ids"], prompt["greedy_text"]
        assert choice.finish_reason == prompt["finish_reason"]
        assert choice.message.content == prompt["greedy_text"]


def test_bfloat16_costs_next_to_no_perplexity(smollm2: Server, smollm2_as_usual: Server) -> None:
    text = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")[:3000]
    exact, usual = perplexity(smollm2, text), perplexity(smollm2_as_usual, text)
    assert 1 < exact < 200
    assert abs(usual / exact - 1) < 0.01
