"""/v1/chat/completions through the official client."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import MODEL, Server, eos_ids, text_of
from openai import BadRequestError, OpenAI
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


# Iterates over content, knows tools and thinking; the brackets show where each begins and ends.
TEMPLATE = """\
{% macro show(content) %}
{% if content is string %}{{ content }}{% else %}
{% for part in content %}({{ part.text }}){% endfor %}
{% endif %}
{% endmacro %}
{% if tools %}tools{{ tools | tojson }}{% endif %}
{% if documents %}documents{{ documents | map(attribute='text') | join(',') }}{% endif %}
{% for m in messages %}
[{{ m.role }}:{{ show(m.content) }}
{%- if m.tool_calls is defined %}
{% for call in m.tool_calls %}<{{ call.function.name }} {{ call.function.arguments | tojson }}>{% endfor %}
{% endif %}
{%- if m.role == 'tool' %}#{{ m.tool_call_id }}{% endif %}]
{%- endfor %}
{% if add_generation_prompt %}[assistant:{% if enable_thinking is false %}-{% endif %}{% endif %}
"""
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
ASK = {"role": "user", "content": "q"}


@pytest.fixture(scope="module")
def templated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file: Path = tmp_path_factory.mktemp("template") / "chat.jinja"
    file.write_text(TEMPLATE)
    server = Server("--chat-template", str(file))
    yield server
    server.close()


def prompt_of(server: Server, messages: list[dict[str, Any]], **fields: Any) -> str:
    reply = server.post("/tokenize", {"messages": messages, **fields})
    assert reply.status_code == 200, reply.text
    return server.detokenize(reply.json()["tokens"])


def error_of(server: Server, messages: list[dict[str, Any]], **fields: Any) -> tuple[str, str]:
    reply = server.post("/v1/chat/completions", {"model": MODEL, "messages": messages, **fields})
    assert reply.status_code == 400, reply.text
    return reply.json()["error"]["param"], reply.json()["error"]["message"]


def test_content_reaches_the_template_as_it_takes_it(templated: Server, server: Server) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert prompt_of(templated, [ASK]) == "[user:(q)][assistant:"
    assert prompt_of(templated, [{"role": "user", "content": parts}]) == "[user:(a)(b)][assistant:"
    assert "user\na\nb<" in prompt_of(server, [{"role": "user", "content": parts}])


# Each as a client sends it, and as the template shows it.
HISTORIES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "openai": (
        [
            {
                "role": "assistant",
                "content": "a",
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": None,
            }
        ],
        "[assistant:(a)]",
    ),
    "langchain": (
        [
            {
                "content": None,
                "role": "assistant",
                "tool_calls": [
                    {
                        "type": "function",
                        "id": "c1",
                        "function": {"name": "f", "arguments": '{"x": "ü"}'},
                    }
                ],
            },
            {"content": "r", "role": "tool", "tool_call_id": "c1"},
        ],
        '[assistant:<f {"x": "ü"}>][tool:r#c1]',
    ),
    "litellm": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "b"},
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "provider_specific_fields": {},
                "reasoning_content": "",
                "tool_calls": [
                    {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "r"}, {"type": "text", "text": "s"}],
            },
        ],
        "[user:(a)(b)][assistant:()<f {}>][tool:r\ns#c1]",
    ),
    "vercel": ([{"role": "developer", "content": "d"}, ASK], "[system:(d)][user:(q)]"),
    "responses": (
        [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        ],
        "[user:(a)][assistant:(b)]",
    ),
}


@pytest.mark.parametrize("client_name", HISTORIES)
def test_histories_are_taken_as_clients_send_them(templated: Server, client_name: str) -> None:
    messages, shown = HISTORIES[client_name]
    assert prompt_of(templated, messages) == shown + "[assistant:"


def test_an_answer_sent_back_whole_is_its_content(client: OpenAI, server: Server) -> None:
    message = chat(client, max_tokens=4).choices[0].message
    plain = {"role": "assistant", "content": message.content}
    assert prompt_of(server, [ASK, message.model_dump()]) == prompt_of(server, [ASK, plain])


def test_tools_are_shown_but_not_called(templated: Server) -> None:
    shown = "tools" + json.dumps([TOOL]) + "[user:(q)][assistant:"
    assert prompt_of(templated, [ASK], tools=[TOOL]) == shown
    options: dict[str, Any] = {"max_tokens": 1, "tools": [TOOL], "extra_body": LONG}
    answer = chat(templated.client, "q", tool_choice="none", **options)
    assert templated.detokenize(answer.prompt_token_ids) == shown
    named = {"type": "function", "function": {"name": "f"}}
    for choice in ("auto", "required", named):
        with pytest.raises(BadRequestError, match='tool_choice \\\\?"none'):
            chat(templated.client, "q", tool_choice=choice, **options)


def test_the_template_sees_thinking_and_documents(templated: Server, server: Server) -> None:
    plain = "[user:(q)][assistant:"
    documents = [{"title": "t", "text": "d"}]
    assert prompt_of(templated, [ASK], documents=documents) == "documentsd" + plain
    assert prompt_of(templated, [ASK], enable_thinking=False) == plain + "-"
    kwargs = {"enable_thinking": False}
    assert prompt_of(templated, [ASK], chat_template_kwargs=kwargs) == plain + "-"
    assert prompt_of(templated, [ASK], reasoning_effort="none") == plain + "-"
    assert prompt_of(templated, [ASK], reasoning_effort="high") == plain
    assert error_of(server, [ASK], documents=documents)[0] == "documents"


@pytest.mark.parametrize("text", ["<", "i", "", " ", "(q)", "assistant", "so far "])
def test_a_final_message_is_continued_whatever_its_text(templated: Server, text: str) -> None:
    messages = [ASK, {"role": "assistant", "content": text}]
    shown = "[user:(q)][assistant:(" + text
    assert prompt_of(templated, messages, continue_final_message=True) == shown
    messages[-1]["prefix"] = True
    assert prompt_of(templated, messages) == shown


def test_calls_that_a_template_has_no_place_for_are_left_out(server: Server) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answers = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "15"},
    ]
    shown = prompt_of(server, [ASK, *answers])
    assert "assistant\n<|im_end|>\n<|im_start|>tool\n15<|im_end|>" in shown
    wrong = {"role": "assistant", "tool_calls": [{"type": "function"}]}
    param, message = error_of(server, [ASK, wrong])
    assert param == "messages"
    assert "messages[1].tool_calls[0].function" in message


def test_what_would_be_lost_is_an_error(templated: Server) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    param, message = error_of(templated, [{"role": "user", "content": [image]}])
    assert param == "messages"
    assert "image_url" in message
    assert error_of(templated, [ASK], chat_template="{{ 1 }}")[0] == "chat_template"
    reply = templated.post("/tokenize", {"messages": [ASK], "chat_template": "{{ 1 }}"})
    assert reply.status_code == 400, reply.text
