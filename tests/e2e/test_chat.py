"""/v1/chat/completions through the official client."""

from __future__ import annotations

import math
from typing import Any

from harness import MODEL, Server, eos_ids, text_of
from openai import OpenAI
from openai.types.chat import ChatCompletion

QUESTION = "Tell me a story."
LONG = {"ignore_eos": True, "return_token_ids": True}  # does not end by itself


def chat(client: OpenAI, content: str = QUESTION, **options: Any) -> ChatCompletion:
    messages = [{"role": "user", "content": content}]
    options = {"temperature": 0, **options}
    return client.chat.completions.create(model=MODEL, messages=messages, **options)


def test_an_answer_ends_by_itself(client: OpenAI) -> None:
    answer = chat(client)
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert choice.stop_reason is None or choice.stop_reason in eos_ids()
    assert "<|im_end|>" not in choice.message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_and_ends_with_usage(client: OpenAI) -> None:
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert text_of(iter(chunks)) == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_has_no_usage_unless_asked(client: OpenAI) -> None:
    assert all(chunk.usage is None for chunk in chat(client, stream=True, max_tokens=5))


def test_logprobs_name_tokens_and_their_bytes(client: OpenAI) -> None:
    choice = chat(client, logprobs=True, top_logprobs=5, max_tokens=20, extra_body=LONG).choices[0]
    content = choice.logprobs.content
    assert len(content) == len(choice.token_ids) == 20
    for item in content:
        top = [candidate.logprob for candidate in item.top_logprobs]
        assert len(top) == 5
        assert top == sorted(top, reverse=True)
        assert item.logprob == top[0]
        assert sum(math.exp(logprob) for logprob in top) <= 1 + 1e-3
    spoken = b"".join(bytes(item.bytes) for item in content)
    assert choice.message.content in spoken.decode("utf-8", "replace")


def test_streamed_logprobs_are_the_whole_ones(client: OpenAI) -> None:
    options: dict[str, Any] = {"logprobs": True, "max_tokens": 20, "extra_body": LONG}
    whole = chat(client, **options).choices[0].logprobs.content
    streamed = [
        item
        for chunk in chat(client, stream=True, **options)
        for choice in chunk.choices
        if choice.logprobs
        for item in choice.logprobs.content
    ]
    assert [item.token for item in streamed] == [item.token for item in whole]
    for one, other in zip(streamed, whole, strict=True):
        assert math.isclose(one.logprob, other.logprob, abs_tol=0.05)


def stop_across_tokens(client: OpenAI, server: Server) -> tuple[str, str]:
    """A greedy answer, and a piece of it that begins in one token and ends in the next."""
    choice = chat(client, max_tokens=40, extra_body=LONG).choices[0]
    text = choice.message.content
    for count in range(8, 32):
        end = len(server.detokenize(choice.token_ids[:count]))
        piece = text[end - 1 : end + 1]
        if len(piece) == 2 and piece.isascii() and text.find(piece) == end - 1:
            return text, piece
    raise AssertionError(f"no two tokens of {text!r} meet in characters that are new")


def test_a_stop_string_across_tokens_cuts_the_answer(client: OpenAI, server: Server) -> None:
    text, stop = stop_across_tokens(client, server)
    options: dict[str, Any] = {"stop": [stop, "never said"], "max_tokens": 40, "extra_body": LONG}
    choice = chat(client, **options).choices[0]
    assert choice.message.content == text[: text.find(stop)]
    assert choice.finish_reason == "stop"
    assert choice.stop_reason == stop
    assert text_of(chat(client, stream=True, **options)) == choice.message.content


def test_a_stop_string_stays_when_asked(client: OpenAI, server: Server) -> None:
    text, stop = stop_across_tokens(client, server)
    extra = {**LONG, "include_stop_str_in_output": True}
    options: dict[str, Any] = {"stop": stop, "max_tokens": 40, "extra_body": extra}
    whole = chat(client, **options).choices[0].message.content
    assert whole == text[: text.find(stop) + len(stop)]
    assert text_of(chat(client, stream=True, **options)) == whole


def test_a_seed_makes_sampling_repeatable(client: OpenAI) -> None:
    options: dict[str, Any] = {"temperature": 1, "max_tokens": 40, "extra_body": LONG}
    answers = [chat(client, seed=7, **options).choices[0].message.content for _ in range(3)]
    assert len(set(answers)) == 1
    assert text_of(chat(client, seed=7, stream=True, **options)) == answers[0]
    others = {chat(client, seed=seed, **options).choices[0].message.content for seed in range(5)}
    assert len(others) > 1


def test_logit_bias_forces_a_token(client: OpenAI, server: Server) -> None:
    token = server.tokenize("dog", special=False)[0]
    choice = chat(client, logit_bias={str(token): 100}, max_tokens=4, extra_body=LONG).choices[0]
    assert choice.token_ids == [token] * 4


def test_min_tokens_puts_the_end_off(client: OpenAI) -> None:
    end = eos_ids()[0]
    extra: dict[str, Any] = {"return_token_ids": True}
    options: dict[str, Any] = {"logit_bias": {str(end): 100}, "max_tokens": 20}
    at_once = chat(client, extra_body=extra, **options)
    assert at_once.choices[0].token_ids == [end]
    assert at_once.choices[0].message.content == ""
    assert at_once.choices[0].finish_reason == "stop"
    later = chat(client, extra_body={**extra, "min_tokens": 5}, **options)
    ids = later.choices[0].token_ids
    assert len(ids) == later.usage.completion_tokens == 6
    assert not set(ids[:5]) & set(eos_ids())
    assert ids[5] == end


def test_token_ids_come_with_the_answer_when_asked(client: OpenAI, server: Server) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    options: dict[str, Any] = {"max_tokens": 12, "extra_body": LONG}
    answer = chat(client, **options)
    templated = server.post("/tokenize", {"messages": messages}).json()["tokens"]
    assert answer.prompt_token_ids == templated
    assert len(templated) == answer.usage.prompt_tokens
    streamed: list[int] = []
    for chunk in chat(client, stream=True, **options):
        streamed += chunk.choices[0].token_ids
    assert streamed == answer.choices[0].token_ids
    assert len(streamed) == 12
    assert getattr(chat(client, max_tokens=2).choices[0], "token_ids", None) is None


def test_system_and_earlier_turns_reach_the_prompt(client: OpenAI, server: Server) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": QUESTION},
    ]
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, max_completion_tokens=3, extra_body=LONG
    )
    prompt = server.detokenize(answer.prompt_token_ids)
    places = [prompt.find(text) for text in ("Be brief.", "Hello.", "Hi.", QUESTION)]
    assert -1 not in places
    assert places == sorted(places)
    assert answer.usage.completion_tokens == 3
