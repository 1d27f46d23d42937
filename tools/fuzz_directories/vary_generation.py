"""generation_config.json: which tokens stop an answer, and values that savers leave behind."""

from __future__ import annotations

from collections.abc import Callable

from checkpoint import Checkpoint

FILE = "generation_config.json"
TOKENIZER = "tokenizer_config.json"
Change = Callable[[Checkpoint], None]


def file(**fields: object) -> Change:
    return lambda c: c.write_json(FILE, fields)


def setting(**fields: object) -> Change:
    return lambda c: c.set(FILE, **fields)


def raw(text: str) -> Change:
    return lambda c: c.write(FILE, text)


def other_eos(c: Checkpoint) -> str:
    """An added token that is not the tokenizer's eos, of which Transformers makes one when told."""
    config = c.json(TOKENIZER)
    eos = config.get("eos_token")
    eos = eos["content"] if isinstance(eos, dict) else eos
    names = [token["content"] for token in c.json("tokenizer.json").get("added_tokens", [])]
    return next((name for name in names if name != eos), eos)


VARIATIONS: dict[str, Change] = {
    "absent": lambda c: c.remove(FILE),
    "empty object": file(),
    "empty file (nonsense)": raw(""),
    "null (nonsense)": raw("null"),
    "eos int": file(eos_token_id=7),
    "eos list": file(eos_token_id=[7, 8]),
    "eos list with repetitions": file(eos_token_id=[7, 7, 8]),
    "eos empty list": file(eos_token_id=[]),
    "eos null": file(eos_token_id=None),
    "eos absent": file(bos_token_id=1, pad_token_id=0),
    "eos -1": file(eos_token_id=-1),
    "eos beyond the vocabulary": file(eos_token_id=10_000_000),
    "eos list partly beyond the vocabulary": file(eos_token_id=[7, 10_000_000]),
    "eos a string (nonsense)": file(eos_token_id="7"),
    "eos a float": file(eos_token_id=7.0),
    "eos list with null (nonsense)": file(eos_token_id=[7, None]),
    "bos -1": setting(bos_token_id=-1),
    "bos null": setting(bos_token_id=None),
    "bos a list (nonsense)": setting(bos_token_id=[1]),
    "bos beyond the vocabulary": setting(bos_token_id=10_000_000),
    "pad -1": setting(pad_token_id=-1),
    "pad a list (nonsense)": setting(pad_token_id=[0]),
    "from model config": setting(_from_model_config=True),
    "temperature null": setting(temperature=None, top_p=None, top_k=None, repetition_penalty=None),
    "temperature 0": setting(temperature=0.0, do_sample=False),
    "temperature int": setting(temperature=1, top_p=1),
    "temperature negative (nonsense)": setting(temperature=-1.0),
    "temperature NaN (nonsense)": raw('{"temperature": NaN}'),
    "temperature a string (nonsense)": setting(temperature="0.7"),
    "top_p 0 (nonsense)": setting(top_p=0.0),
    "top_p over 1 (nonsense)": setting(top_p=1.5),
    "top_k 0": setting(top_k=0),
    "top_k -1": setting(top_k=-1),
    "top_k a float": setting(top_k=50.0),
    "repetition_penalty 1": setting(repetition_penalty=1.0),
    "repetition_penalty 0 (nonsense)": setting(repetition_penalty=0.0),
    "max_new_tokens null": setting(max_new_tokens=None, max_length=4096),
    "max_new_tokens 0 (nonsense)": setting(max_new_tokens=0),
    "odd fields": setting(
        do_sample=True, chat_format="chatml", max_window_size=6144, num_beams=1, typical_p=1.0, stop_strings=None,
        suppress_tokens=None, forced_eos_token_id=None, assistant_early_exit=None, cache_implementation=None,
        transformers_version="4.57.6", trust_remote_code=True, token_latency=1e3,
    ),
    "eos differs from config and tokenizer": lambda c: (
        c.write_json(FILE, {"eos_token_id": 7}), c.set("config.json", eos_token_id=9),
        c.set(TOKENIZER, eos_token=other_eos(c)),
    ),
    "only config's eos, tokenizer's differs": lambda c: (
        c.remove(FILE), c.set("config.json", eos_token_id=9), c.set(TOKENIZER, eos_token=other_eos(c)),
    ),
    "duplicate key": raw('{"eos_token_id": 5, "eos_token_id": 7}'),
    "byte order mark": lambda c: c.write(FILE, b"\xef\xbb\xbf" + b'{"eos_token_id": 7}'),
    "LFS pointer (nonsense)": raw("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
}  # fmt: skip
