"""Several answers to one prompt: n, best_of and beam search, through the official client."""

from __future__ import annotations

import math
from typing import Any

import pytest
from harness import MODEL, Server
from openai import OpenAI
from openai.types import Completion

PROMPT = "Once upon a time"
FIXED: dict[str, Any] = {"ignore_eos": True, "return_token_ids": True}  # as long as max_tokens says


def complete(client: OpenAI, prompt: Any = PROMPT, **options: Any) -> Completion:
    options = {"max_tokens": 16, "temperature": 1, "seed": 3, "extra_body": FIXED, **options}
    return client.completions.create(model=MODEL, prompt=prompt, **options)


def beams(client: OpenAI, extra: dict[str, Any], **options: Any) -> Completion:
    options = {"temperature": 0, "extra_body": {**FIXED, "use_beam_search": True, **extra}, **options}
    return complete(client, **options)


def texts(answer: Completion) -> list[str]:
    return [choice.text for choice in answer.choices]


def mean_logprob(choice: Any) -> float:
    return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)


def test_n_answers_share_one_prompt(client: OpenAI, server: Server) -> None:
    before = server.metric("vllm:prompt_tokens_total")
    answer = complete(client, n=5)
    assert [choice.index for choice in answer.choices] == list(range(5))
    assert len(set(texts(answer))) > 1
    assert texts(complete(client, n=5)) == texts(answer)
    num_prompt = len(server.tokenize(PROMPT))
    assert answer.usage.prompt_tokens == num_prompt
    assert answer.usage.completion_tokens == 5 * 16
    server.wait_for_metric("vllm:prompt_tokens_total", before + 2 * num_prompt)


def test_an_answer_does_not_depend_on_how_many_are_asked_for(client: OpenAI) -> None:
    assert texts(complete(client, n=3)) == texts(complete(client, n=6))[:3]
    assert texts(complete(client, n=1)) == texts(complete(client, n=6))[:1]


def test_greedy_answers_are_all_the_same(client: OpenAI) -> None:
    assert len(set(texts(complete(client, n=3, temperature=0)))) == 1


def test_streamed_answers_are_the_whole_ones(client: OpenAI) -> None:
    streamed = [""] * 4
    ends = 0
    for chunk in complete(client, n=4, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
            ends += choice.finish_reason == "length"
    assert ends == 4
    assert streamed == texts(complete(client, n=4))


def test_a_stop_string_ends_one_answer_only(client: OpenAI) -> None:
    free = texts(complete(client, n=4))
    pieces = [(text[i : i + 3], index) for index, text in enumerate(free) for i in range(4, len(text) - 3)]
    stop, index = next(p for p in pieces if sum(p[0] in text for text in free) == 1)
    answer = complete(client, n=4, stop=[stop])
    for choice, text in zip(answer.choices, free, strict=True):
        assert choice.text == text.split(stop)[0]
        assert choice.finish_reason == ("stop" if choice.index == index else "length")
    assert answer.usage.completion_tokens < 4 * 16


def test_best_of_returns_the_best_by_mean_logprob(client: OpenAI, server: Server) -> None:
    everything = complete(client, n=5, logprobs=0).choices
    ranked = sorted(everything, key=mean_logprob, reverse=True)
    before = server.metric("vllm:generation_tokens_total")
    best = complete(client, n=2, best_of=5)
    assert texts(best) == [choice.text for choice in ranked[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert all(choice.logprobs is None for choice in best.choices)
    assert best.usage.completion_tokens == 2 * 16
    server.wait_for_metric("vllm:generation_tokens_total", before + 5 * 16)
    shown = complete(client, n=2, best_of=5, logprobs=1)
    assert len(shown.choices[0].logprobs.top_logprobs[0]) >= 1


def test_one_beam_is_greedy(client: OpenAI) -> None:
    greedy = complete(client, temperature=0)
    assert texts(beams(client, {"beam_width": 1})) == texts(greedy)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_come_best_first_with_their_scores(client: OpenAI, length_penalty: float) -> None:
    answer = beams(client, {"beam_width": 6, "length_penalty": length_penalty}, n=4, logprobs=0)
    scores = [choice.score for choice in answer.choices]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(choice.token_ids) for choice in answer.choices}) == 4
    for choice in answer.choices:
        logprobs = choice.logprobs.token_logprobs
        expected = sum(logprobs) / len(logprobs) ** length_penalty
        assert math.isclose(choice.score, expected, abs_tol=1e-3)
    assert answer.usage.completion_tokens == 4 * 16


def test_a_wider_search_finds_nothing_worse(client: OpenAI) -> None:
    narrow = beams(client, {"beam_width": 1}, logprobs=0).choices[0]
    wide = beams(client, {"beam_width": 8}, logprobs=0).choices[0]
    assert wide.score >= narrow.score


def test_beams_that_may_end_do(client: OpenAI) -> None:
    extra = {"use_beam_search": True, "beam_width": 4, "early_stopping": True}
    messages = [{"role": "user", "content": "Hello."}]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, n=2, max_tokens=200, extra_body=extra
    )
    assert all(choice.message.content for choice in answer.choices)
    assert answer.choices[0].finish_reason == "stop"


def test_streamed_beams_come_at_the_end(client: OpenAI) -> None:
    streamed = ["", ""]
    for chunk in beams(client, {"beam_width": 3}, n=2, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts(beams(client, {"beam_width": 3}, n=2))


def test_several_prompts_are_each_answered_n_times(client: OpenAI) -> None:
    together = complete(client, [PROMPT, "The dog"], n=2)
    assert texts(together) == texts(complete(client, n=2)) + texts(complete(client, "The dog", n=2))
    searched = beams(client, {}, prompt=[PROMPT, "The dog"], n=2)
    assert texts(searched)[2:] == texts(beams(client, {}, prompt="The dog", n=2))


def test_chat_takes_best_of_too(client: OpenAI) -> None:
    messages = [{"role": "user", "content": "Tell me a story."}]
    options: dict[str, Any] = {"messages": messages, "max_tokens": 8, "seed": 1, "temperature": 1}
    everything = client.chat.completions.create(model=MODEL, n=4, **options)
    best = client.chat.completions.create(model=MODEL, extra_body={"best_of": 4}, **options)
    assert len(best.choices) == 1
    said = [choice.message.content for choice in everything.choices]
    assert best.choices[0].message.content in said
