"""A byte-level BPE tokenizer of any vocabulary size from 261 on, with made-up merges.

It encodes every text and decodes it back exactly. Its merges are short runs of
lower-case letters, with and without a space before them, so that English comes
out at two to three characters a token.
"""

from __future__ import annotations

import itertools
import json
import string
from collections.abc import Iterator
from pathlib import Path

SPECIAL_TOKENS = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]
BOS_ID, EOS_ID = 0, 1
SPACE = "Ġ"

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def byte_alphabet() -> list[str]:
    """The printable stand-in of each byte, as byte-level BPE writes vocabularies."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    replaced = itertools.count(0x100)
    return [chr(byte) if byte in printable else chr(next(replaced)) for byte in range(256)]


def merges() -> Iterator[tuple[str, str]]:
    """Pairs to merge, each made of bytes or earlier merges, each giving a new token."""
    letters = sorted(string.ascii_lowercase, key="etaoinshrdlcumwfgypbvkjxqz".index)
    pairs = [a + b for a, b in itertools.product(letters, letters)]
    yield from ((SPACE, a) for a in letters)
    yield from itertools.product(letters, letters)
    yield from ((SPACE + a, b) for a, b in itertools.product(letters, pairs))
    yield from itertools.product(pairs, letters)
    yield from itertools.product(pairs, pairs)


def added_token(index: int, content: str) -> dict[str, object]:
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {"id": index, "content": content, **flags}


def tokenizer_json(vocab_size: int) -> dict[str, object]:
    tokens = [*SPECIAL_TOKENS, *byte_alphabet()]
    if vocab_size < len(tokens):
        raise SystemExit(f"vocab_size {vocab_size}: must be at least {len(tokens)} for the bytes and special tokens")
    chosen = list(itertools.islice(merges(), vocab_size - len(tokens)))
    tokens += [a + b for a, b in chosen]
    if len(tokens) < vocab_size:
        raise SystemExit(f"vocab_size {vocab_size}: the tokenizer has at most {len(tokens)}")
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    bos = SPECIAL_TOKENS[BOS_ID]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(i, token) for i, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": bos, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {bos: {"id": bos, "ids": [BOS_ID], "tokens": [bos]}},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in chosen],
        },
    }


def write(out: Path, vocab_size: int, max_length: int) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[BOS_ID],
        "eos_token": SPECIAL_TOKENS[EOS_ID],
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(tokenizer_json(vocab_size), ensure_ascii=False, separators=(",", ":"))
    (out / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
