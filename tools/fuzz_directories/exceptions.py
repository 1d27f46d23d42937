"""Differences that stay, each with its reason: named here, they are counted and not held against Quire."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Stays:
    name: str
    reason: str
    case: re.Pattern  # both are sought in what names the case and the check
    check: re.Pattern = re.compile("")


ALL = [
    Stays(
        "processor's template",
        "chat_template.json is a processor's: vLLM takes it where the tokenizer has none, AutoTokenizer does not",
        re.compile("template/json$"),
        re.compile("^chat"),
    ),
    Stays(
        "template beside additional ones",
        "additional_chat_templates make Transformers forget the default template of tokenizer_config.json, so that it "
        "refuses to chat",
        re.compile("template/additional beside config$"),
        re.compile("^chat"),
    ),
    Stays(
        "spaces of LlamaTokenizer",
        "without add_prefix_space, Transformers 5 gives the class's pre-tokenizer the file's place: no space before a "
        "part that follows an added token, one only where there is none yet. Quire, as Transformers 4 and "
        "SentencePiece, goes with the file; and version 4 refuses these directories, or seeks their added tokens "
        "otherwise",
        re.compile(
            "^tokenizer (llama-2|phi-3-mini): tokenizer/(added_tokens without flags|extra_special_tokens list|"
            "odd fields|model_specific_special_tokens|added_tokens.json adds a token|added_tokens normalized)"
        ),
        re.compile("^(ids|ids_special|chat) of "),
    ),
]


def find(case: str, check: str) -> Stays | None:
    return next((stays for stays in ALL if stays.case.search(case) and stays.check.search(check)), None)
