"""/v1/completions, and the routes around it, through the official client."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from harness import MODEL, Server, text_of
from openai import OpenAI
from openai.types import Completion

PROMPT = "Once upon a time"
SAMPLE = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z_]+=\"[^\"]*\",?)*\})? (\S+)$")


def complete(client: OpenAI, prompt: Any = PROMPT, **options: Any) -> Completion:
    options = {"max_tokens": 24, "temperature": 0, **options}
    return client.completions.create(model=MODEL, prompt=prompt, **options)


def test_a_completion_counts_its_tokens(client: OpenAI, server: Server) -> None:
    answer = complete(client, max_tokens=7, extra_body={"ignore_eos": True})
    assert answer.object == "text_completion"
    assert answer.model == MODEL
    assert answer.id.startswith("cmpl-")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == len(server.tokenize(PROMPT))
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7


def test_max_tokens_is_16_when_not_given(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt=PROMPT, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_token_ids_are_a_prompt_like_their_text(client: OpenAI, server: Server) -> None:
    ids = server.tokenize(PROMPT)
    assert complete(client, ids).choices[0].text == complete(client).choices[0].text


def test_several_prompts_are_answered_in_order(client: OpenAI, server: Server) -> None:
    prompts = [PROMPT, "The dog", "A little girl"]
    alone = [complete(client, prompt).choices[0].text for prompt in prompts]
    together = complete(client, prompts)
    assert [choice.text for choice in together.choices] == alone
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert together.usage.prompt_tokens == sum(len(server.tokenize(prompt)) for prompt in prompts)
    lists = complete(client, [server.tokenize(prompt) for prompt in prompts])
    assert [choice.text for choice in lists.choices] == alone


def test_n_gives_so_many_choices_per_prompt(client: OpenAI, server: Server) -> None:
    greedy = complete(client, n=2)
    assert [choice.index for choice in greedy.choices] == [0, 1]
    assert greedy.choices[0].text == greedy.choices[1].text
    both = complete(client, [PROMPT, "The dog"], n=2, temperature=1, seed=3)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    prompt_tokens = len(server.tokenize(PROMPT)) + len(server.tokenize("The dog"))
    assert both.usage.prompt_tokens == prompt_tokens
    again = complete(client, [PROMPT, "The dog"], n=2, temperature=1, seed=3)
    assert [choice.text for choice in again.choices] == [choice.text for choice in both.choices]


def test_echo_puts_the_prompt_before_the_answer(client: OpenAI) -> None:
    plain = complete(client).choices[0].text
    assert complete(client, echo=True).choices[0].text == PROMPT + plain


def test_echo_of_no_new_token_scores_the_prompt(client: OpenAI, server: Server) -> None:
    answer = complete(client, echo=True, logprobs=1, max_tokens=0)
    assert answer.choices[0].text == PROMPT
    assert answer.usage.completion_tokens == 0
    logprobs = answer.choices[0].logprobs.token_logprobs
    assert len(logprobs) == len(server.tokenize(PROMPT))
    assert logprobs[0] is None
    assert all(logprob <= 0 for logprob in logprobs[1:])


def test_logprobs_hold_the_likeliest_tokens(client: OpenAI) -> None:
    extra = {"return_tokens_as_token_ids": True, "return_token_ids": True, "ignore_eos": True}
    choice = complete(client, logprobs=4, extra_body=extra).choices[0]
    logprobs = choice.logprobs
    assert logprobs.tokens == [f"token_id:{id}" for id in choice.token_ids]
    assert len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 24
    columns = zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    for token, logprob, top in columns:
        assert len(top) == 4
        assert top[token] == logprob == max(top.values())
        assert sum(math.exp(value) for value in top.values()) <= 1 + 1e-3


@pytest.mark.parametrize("echo", [False, True])
def test_logprob_offsets_point_into_the_text(client: OpenAI, echo: bool) -> None:
    choice = complete(client, logprobs=0, echo=echo).choices[0]
    columns = list(zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True))
    assert columns[0][1] == 0
    for token, offset in columns:
        if offset < len(choice.text) and not token.startswith("<|"):
            assert choice.text.startswith(token, offset)
    assert not echo or columns[-1][1] > len(PROMPT)


def test_truncated_prompts_are_echoed_as_far_as_they_are_kept(
    client: OpenAI, server: Server
) -> None:
    ids = server.tokenize(PROMPT)[-2:]
    extra = {"truncate_prompt_tokens": 2, "return_token_ids": True}
    options: dict[str, Any] = {"echo": True, "logprobs": 0, "max_tokens": 0, "extra_body": extra}
    for prompt in (PROMPT, "word " * 100_000 + PROMPT):
        choice = complete(client, prompt, **options).choices[0]
        assert choice.prompt_token_ids == ids
        assert choice.text == server.detokenize(ids)
        assert "".join(choice.logprobs.tokens) == choice.text


def test_keys_of_top_logprobs_are_unique(server: Server) -> None:
    prompt = "The emoji \U0001f600 and 模型 नमस्ते"  # tokens that are fragments of a character read alike
    body = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 20}
    text = server.post("/v1/completions", body).text

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    logprobs = json.loads(text, object_pairs_hook=unique)["choices"][0]["logprobs"]
    alternatives = [top for top in logprobs["top_logprobs"] if top]
    assert any("\ufffd" in top for top in alternatives)
    for logprob, top in zip(logprobs["token_logprobs"][1:], alternatives, strict=True):
        assert max(top.values()) >= logprob


def test_the_token_that_ends_an_answer_is_not_shown(server: Server) -> None:
    messages = [{"role": "user", "content": "What is 7 + 8?"}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 60, "skip_special_tokens": False}
    answer = server.post("/v1/chat/completions", body).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("7 + 8 = 15.", "stop")
    answer = server.post("/v1/chat/completions", {**body, "include_stop_str_in_output": True}).json()["choices"][0]
    assert answer["message"]["content"] == "7 + 8 = 15.<|im_end|>"
    beams = {**body, "use_beam_search": True, "n": 2}
    for choice in server.post("/v1/chat/completions", beams).json()["choices"]:
        assert "<|im_end|>" not in choice["message"]["content"]


def test_unknown_fields_are_counted_on_every_route(server: Server) -> None:
    before = server.metric("quire_unknown_request_fields_total")
    messages = [{"role": "user", "content": "Hello."}]
    for path, body in (
        ("/v1/completions", {"prompt": PROMPT, "max_tokens": 1}),
        ("/v1/chat/completions", {"messages": messages, "max_tokens": 1}),
        ("/tokenize", {"prompt": PROMPT}),
        ("/detokenize", {"tokens": [5]}),
    ):
        assert server.post(path, {**body, "mystery": 1}).status_code == 200
    assert server.post("/v1/completions", {"prompt": PROMPT, "n": 0, "mystery": 1}).is_error
    assert server.metric("quire_unknown_request_fields_total") == before + 5


def test_scores_of_an_echo_are_those_of_generation(client: OpenAI) -> None:
    extra = {"return_token_ids": True, "ignore_eos": True}
    choice = complete(client, logprobs=0, extra_body=extra).choices[0]
    whole = [*choice.prompt_token_ids, *choice.token_ids]
    scored = complete(client, whole, echo=True, logprobs=0, max_tokens=0).choices[0].logprobs
    tail = scored.token_logprobs[-len(choice.token_ids) :]
    for generated, scored_again in zip(choice.logprobs.token_logprobs, tail, strict=True):
        assert math.isclose(generated, scored_again, abs_tol=0.05)


def test_streamed_text_is_the_whole_text(client: OpenAI) -> None:
    for options in ({}, {"echo": True}, {"temperature": 1, "seed": 11}, {"stop": ["e"]}):
        whole = complete(client, max_tokens=64, **options).choices[0].text
        assert text_of(complete(client, max_tokens=64, stream=True, **options)) == whole


def test_streams_keep_characters_whole(client: OpenAI, server: Server) -> None:
    """Hot sampling mixes bytes of characters: a stream must hold back what is not yet a text."""
    for seed in range(6):
        options: dict[str, Any] = {"temperature": 2, "seed": seed, "max_tokens": 80}
        options["extra_body"] = {"ignore_eos": True, "top_k": -1, "return_token_ids": True}
        whole = complete(client, **options).choices[0]
        assert text_of(complete(client, stream=True, **options)) == whole.text
    ids = server.tokenize("🦉", special=False)
    forced: dict[str, Any] = {"logit_bias": {str(ids[0]): 100}, "max_tokens": 9}
    whole_text = complete(client, **forced).choices[0].text
    assert text_of(complete(client, stream=True, **forced)) == whole_text
    assert complete(client, ids, echo=True, max_tokens=0).choices[0].text == "🦉"


def test_streamed_choices_are_told_apart(client: OpenAI) -> None:
    options: dict[str, Any] = {"n": 2, "temperature": 1, "seed": 5}
    whole = complete(client, [PROMPT, "The dog"], **options)
    texts = [""] * 4
    for chunk in complete(client, [PROMPT, "The dog"], stream=True, **options):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


def test_text_survives_tokenize_and_detokenize(server: Server) -> None:
    for text in (PROMPT, " two  spaces\n\n\ttab", "naïve café 日本語 🦉", "x" * 500, ""):
        assert server.detokenize(server.tokenize(text, special=False)) == text
    counted = server.post("/tokenize", {"prompt": PROMPT, "return_token_strs": True}).json()
    assert counted["count"] == len(counted["tokens"]) == len(counted["token_strs"])
    assert counted["max_model_len"] == 2048


def test_models_lists_what_is_served(client: OpenAI) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == [MODEL]
    assert models[0].object == "model"
    assert models[0].max_model_len == 2048
    assert client.models.retrieve(MODEL).id == MODEL


def test_every_line_of_metrics_parses(client: OpenAI, server: Server) -> None:
    before = server.metric("vllm:generation_tokens_total")
    complete(client, max_tokens=9, extra_body={"ignore_eos": True})
    server.wait_for_metric("vllm:generation_tokens_total", before + 9)
    typed: set[str] = set()
    for line in server.get("/metrics").text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            sample = SAMPLE.match(line)
            assert sample, line
            float(sample.group(3))
            assert re.sub(r"(_bucket|_sum|_count)?[{ ].*", "", line) in typed, line
    for name in ("num_requests_running", "num_requests_waiting", "time_to_first_token_seconds"):
        assert f"vllm:{name}" in typed
