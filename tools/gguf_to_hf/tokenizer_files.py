"""tokenizer.json and tokenizer_config.json from the metadata of a GGUF file with a byte-level BPE tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

Get = Callable[..., object]


class TokenType(IntEnum):
    """tokenizer.ggml.token_type, of each token."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

# How text is cut before BPE is the one thing that GGUF states by a name alone.
PRE_TOKENIZERS = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    },
    "gpt-2": BYTE_LEVEL,
}


def check_kind(get: Get) -> None:
    model, pre = get("tokenizer.ggml.model"), get("tokenizer.ggml.pre")
    if model != "gpt2":
        raise SystemExit(f"tokenizer.ggml.model is {model}: only byte-level BPE, gpt2, is supported")
    if pre not in PRE_TOKENIZERS:
        raise SystemExit(f"tokenizer.ggml.pre is {pre}: known are {', '.join(PRE_TOKENIZERS)}")
    for flag in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        if get(f"tokenizer.ggml.{flag}", False):
            raise SystemExit(f"tokenizer.ggml.{flag} is set: not supported")


def make_added_tokens(get: Get) -> list[dict[str, object]]:
    added = []
    types = get("tokenizer.ggml.token_type")
    for token_id, (content, kind) in enumerate(zip(get("tokenizer.ggml.tokens"), types, strict=True)):
        if TokenType(kind) == TokenType.NORMAL:
            continue
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        added.append({"id": token_id, "content": content} | flags | {"special": kind == TokenType.CONTROL})
    return added


def make_tokenizer(get: Get) -> dict[str, object]:
    check_kind(get)
    tokens = get("tokenizer.ggml.tokens")
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {content: token_id for token_id, content in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in get("tokenizer.ggml.merges")],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": make_added_tokens(get),
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[get("tokenizer.ggml.pre")],
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": model,
    }


def make_tokenizer_config(get: Get, config: dict[str, object]) -> dict[str, object]:
    tokens = get("tokenizer.ggml.tokens")
    bos, eos, pad = (tokens[config[f"{name}_token_id"]] for name in ("bos", "eos", "pad"))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "unk_token": tokens[get("tokenizer.ggml.unknown_token_id")],
        "additional_special_tokens": list(dict.fromkeys([bos, eos])),
        "chat_template": get("tokenizer.chat_template"),
    }
