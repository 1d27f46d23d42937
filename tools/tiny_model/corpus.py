"""Whole training documents: chat conversations and raw text.

A document is a pure function of its seed. Training documents leave out what
`tasks.is_held_out` names; evaluation documents come from the unfiltered
generator, or from its held-out part alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import stories
import tasks
from choices import Choices
from tasks import Exchange

BOS, IM_START, IM_END, END_OF_TEXT = "<|bos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = [BOS, END_OF_TEXT, IM_START, IM_END]

# Must render exactly what `chat_text` writes; `export.py` checks that it does.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are Tiny, a small model.", "You are a friendly assistant. Answer in a few words.",
    "Be helpful and kind.", "You are a helpful AI.",
]  # fmt: skip

Keep = Callable[[list[str]], bool]


def nothing_held_out(keys: list[str]) -> bool:
    return not any(map(tasks.is_held_out, keys))


def something_held_out(keys: list[str]) -> bool:
    return any(map(tasks.is_held_out, keys))


@dataclass(frozen=True)
class Document:
    """Text that starts with the bos token, and the generator's surprisal of it."""

    text: str
    nats: float


def chat_text(messages: list[dict[str, str]]) -> str:
    """A conversation in the model's chat format."""
    turns = (f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)
    return BOS + "".join(turns)


def conversation(choices: Choices, keep: Keep | None) -> list[dict[str, str]]:
    """One to four exchanges, sometimes under a system prompt."""
    messages = []
    if choices.chance(0.25):
        messages.append({"role": "system", "content": choices.pick(SYSTEM_PROMPTS)})
    for _ in range(choices.weighted([(5, 1), (3, 2), (2, 3), (1, 4)])):
        exchange = choices.until(
            lambda: choices.weighted(tasks.TASKS)(choices), lambda made: keep is None or keep(made.keys)
        )
        for i, content in enumerate(exchange.messages):
            messages.append({"role": "assistant" if i % 2 else "user", "content": content})
    return messages


def _raw_story(choices: Choices) -> Exchange:
    told = stories.generate(choices)
    return Exchange([told.text], [tasks.story_key(told.slots)])


def _raw_sums(choices: Choices) -> Exchange:
    """Bare sums without steps, one to a line."""
    high = choices.pick([9, 99])
    pairs = [(choices.integer(0, high), choices.integer(0, high)) for _ in range(choices.integer(2, 10))]
    lines = [f"{a} + {b} = {a + b}" for a, b in pairs]
    return Exchange(["\n".join(lines)], [tasks.sum_key(a, b) for a, b in pairs])


def _raw_json(choices: Choices) -> Exchange:
    made = tasks.record(choices, choices.pick(sorted(tasks.RECORDS)))
    return Exchange([json.dumps(made)], ["json:" + json.dumps(dict(list(made.items())[:2]))])


RAW = [(6, _raw_story), (3, _raw_sums), (1, _raw_json)]


def document(seed: str, keep: Keep | None = None) -> Document:
    """The document of a seed; `keep` rejects exchanges by their keys."""
    choices = Choices(seed)
    if choices.chance(0.8):
        text = chat_text(conversation(choices, keep))
    else:
        made = choices.until(
            lambda: choices.weighted(RAW)(choices), lambda made: keep is None or keep(made.keys)
        )
        text = BOS + made.messages[0] + END_OF_TEXT
    return Document(text, choices.nats)


def training_document(seed: int, index: int) -> Document:
    return document(f"train/{seed}/{index}", nothing_held_out)
