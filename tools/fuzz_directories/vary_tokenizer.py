"""tokenizer.json, tokenizer_config.json and the older files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable

from checkpoint import Checkpoint

JSON = "tokenizer.json"
CONFIG = "tokenizer_config.json"
MAP = "special_tokens_map.json"
ADDED = "added_tokens.json"
CLASSES = ["PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer",
           "GPT2TokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast"]  # fmt: skip
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}

Change = Callable[[Checkpoint], None]


def setting(**fields: object) -> Change:
    return lambda c: c.set(CONFIG, **fields)


def without(*fields: str) -> Change:
    return lambda c: c.drop(CONFIG, *fields)


def text_of(token: object) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def as_objects(c: Checkpoint, marked: bool = True, **flags: bool) -> dict[str, dict]:
    """The named tokens as savers write them: with __type (tokenizer_config), or without (special_tokens_map)."""
    kind = {"__type": "AddedToken"} if marked else {}
    config = c.json(CONFIG)
    shown = {key: value for key, value in (FLAGS | flags).items() if marked or key != "special"}
    return {name: kind | {"content": text_of(config[name])} | shown for name in NAMES if config.get(name)}


def decoder_of(c: Checkpoint, **flags: bool) -> dict[str, dict]:
    tokens = c.json(JSON)["added_tokens"]
    return {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"} | flags
        for token in tokens
    }  # fmt: skip


def change_json(change: Callable[[dict], object]) -> Change:
    def apply(c: Checkpoint) -> None:
        with c.edit(JSON) as tokenizer:
            change(tokenizer)

    return apply


def set_json(**fields: object) -> Change:
    return change_json(lambda tokenizer: tokenizer.update(fields))


def change_added(change: Callable[[dict], object], only: Callable[[dict], bool] = lambda _: True) -> Change:
    return change_json(lambda tokenizer: [change(token) for token in tokenizer["added_tokens"] if only(token)])


def legacy_config(c: Checkpoint) -> None:
    c.set(CONFIG, added_tokens_decoder=decoder_of(c), legacy=False, tokenizer_class="PreTrainedTokenizerFast")


def added_only_in_config(c: Checkpoint) -> None:
    legacy_config(c)
    set_json(added_tokens=[])(c)


def decoder_says(**flags: bool) -> Change:
    return lambda c: c.set(CONFIG, added_tokens_decoder=decoder_of(c, **flags))


def vocab_end(c: Checkpoint) -> int:
    tokenizer = c.json(JSON)
    vocab = tokenizer["model"]["vocab"]
    ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
    return max([*ids, *(token["id"] for token in tokenizer["added_tokens"])]) + 1


def decoder_adds(**flags: bool) -> Change:
    def change(c: Checkpoint) -> None:
        extra = {str(vocab_end(c)): {"content": "<extra>"} | FLAGS | flags}
        c.set(CONFIG, added_tokens_decoder=decoder_of(c) | extra)

    return change


def map_of_strings(c: Checkpoint) -> None:
    config = c.json(CONFIG)
    c.write_json(MAP, {name: text_of(config[name]) for name in NAMES if config.get(name)})


def map_only(marked: bool) -> Change:
    def change(c: Checkpoint) -> None:
        if marked:
            c.write_json(MAP, as_objects(c, marked=False))
        else:
            map_of_strings(c)
        c.drop(CONFIG, *NAMES)

    return change


def ordinary_token(c: Checkpoint) -> str:
    """A word of the vocabulary that is no added token."""
    tokenizer = c.json(JSON)
    added = {token["content"] for token in tokenizer["added_tokens"]}
    vocab = tokenizer["model"]["vocab"]
    words = vocab if isinstance(vocab, dict) else [piece for piece, _ in vocab]
    return next(word for word in words if word.isascii() and word.isalpha() and len(word) > 1 and word not in added)


def merges_as(kind: type) -> Change:
    def change(tokenizer: dict) -> None:
        merges = tokenizer["model"].get("merges", [])
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
        tokenizer["model"]["merges"] = [" ".join(pair) for pair in pairs] if kind is str else pairs

    return change_json(change)


def drop_from_model(*fields: str) -> Change:
    return change_json(lambda tokenizer: [tokenizer["model"].pop(field, None) for field in fields])


def with_bos_template(tokenizer: dict) -> None:
    token = tokenizer["added_tokens"][0]
    special = {"id": token["content"], "ids": [token["id"]], "tokens": [token["content"]]}
    bos, text = {"SpecialToken": {"id": token["content"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, second],
        "special_tokens": {token["content"]: special},
    }  # fmt: skip


def gap_in_ids(c: Checkpoint) -> None:
    token = {"id": vocab_end(c) + 3, "content": "<extra>"} | FLAGS
    change_json(lambda tokenizer: tokenizer["added_tokens"].append(token))(c)


def added_tokens_file(c: Checkpoint) -> None:
    c.write_json(ADDED, {"<extra>": vocab_end(c)})


def classes() -> dict[str, Change]:
    found: dict[str, Change] = {}
    for name in CLASSES:
        found[f"class {name}"] = setting(tokenizer_class=name)
        found[f"class {name}, add_bos_token true, add_eos_token true"] = setting(
            tokenizer_class=name, add_bos_token=True, add_eos_token=True
        )
        found[f"class {name}, add_bos_token false, add_eos_token false"] = setting(
            tokenizer_class=name, add_bos_token=False, add_eos_token=False
        )
    return found


def named_tokens() -> dict[str, Change]:
    return {
        "tokens as AddedToken objects": lambda c: c.set(CONFIG, **as_objects(c)),
        "tokens as objects with lstrip": lambda c: c.set(CONFIG, **as_objects(c, lstrip=True)),
        "tokens as objects with rstrip, normalized": lambda c: c.set(CONFIG, **as_objects(c, rstrip=True, normalized=True)),
        "special_tokens_map of strings": map_of_strings,
        "special_tokens_map of objects": lambda c: c.write_json(MAP, as_objects(c, marked=False)),
        "special_tokens_map of objects with lstrip": lambda c: c.write_json(MAP, as_objects(c, marked=False, lstrip=True)),
        "special_tokens_map only, strings": map_only(marked=False),
        "special_tokens_map only, objects": map_only(marked=True),
        "special_tokens_map with another eos": lambda c: c.write_json(MAP, {"eos_token": ordinary_token(c)}),
        "special_tokens_map with a new eos, config without": lambda c: (
            c.write_json(MAP, {"eos_token": "<new eos>"}), c.drop(CONFIG, "eos_token")),
        "special_tokens_map additional_special_tokens": lambda c: c.write_json(
            MAP, {"additional_special_tokens": ["<extra>", ordinary_token(c)]}),
        "eos absent": without("eos_token"),
        "eos null": setting(eos_token=None),
        "bos null": setting(bos_token=None),
        "bos absent, add_bos_token true": lambda c: (c.drop(CONFIG, "bos_token"), c.set(CONFIG, add_bos_token=True)),
        "eos an ordinary word": lambda c: c.set(CONFIG, eos_token=ordinary_token(c)),
        "pad a new token": setting(pad_token="<pad new>"),
        "mask and sep tokens": lambda c: c.set(CONFIG, mask_token=ordinary_token(c), sep_token="<extra>"),
        "additional_special_tokens new": setting(additional_special_tokens=["<extra>", "<extra two>"]),
        "additional_special_tokens ordinary": lambda c: c.set(CONFIG, additional_special_tokens=[ordinary_token(c)]),
        "additional_special_tokens objects": setting(
            additional_special_tokens=[{"__type": "AddedToken", "content": "<extra>"} | FLAGS | {"lstrip": True}]),
        "additional_special_tokens null": setting(additional_special_tokens=None),
        "additional_special_tokens empty": setting(additional_special_tokens=[]),
        "extra_special_tokens dict": setting(extra_special_tokens={"image_token": "<extra>"}),
        "extra_special_tokens dict of an ordinary word": lambda c: c.set(
            CONFIG, extra_special_tokens={"image_token": ordinary_token(c)}),
        "extra_special_tokens dict of objects": setting(
            extra_special_tokens={"image_token": {"__type": "AddedToken", "content": "<extra>"} | FLAGS}),
        "extra_special_tokens list": setting(extra_special_tokens=["<extra>"]),
        "extra_special_tokens empty dict": setting(extra_special_tokens={}),
        "extra_special_tokens list of an ordinary word": lambda c: c.set(
            CONFIG, extra_special_tokens=[ordinary_token(c)]),
        "model_specific_special_tokens": setting(model_specific_special_tokens={"image_token": "<extra>"}),
    }  # fmt: skip


def files() -> dict[str, Change]:
    return {
        "as is": lambda _: None,
        "no tokenizer_config": lambda c: c.remove(CONFIG, MAP),
        "empty tokenizer_config": lambda c: c.write_json(CONFIG, {}),
        "added_tokens_decoder, equal": legacy_config,
        "added_tokens_decoder, no added_tokens in tokenizer.json": added_only_in_config,
        "added_tokens_decoder says lstrip": decoder_says(lstrip=True),
        "added_tokens_decoder says rstrip": decoder_says(rstrip=True),
        "added_tokens_decoder says not special": decoder_says(special=False),
        "added_tokens_decoder says normalized": decoder_says(normalized=True),
        "added_tokens_decoder adds a special token": decoder_adds(),
        "added_tokens_decoder adds a token": decoder_adds(special=False),
        "added_tokens_decoder empty": setting(added_tokens_decoder={}),
        "added_tokens.json adds a token": added_tokens_file,
        "added_tokens.json empty": lambda c: c.write_json(ADDED, {}),
        "added token with an id after a gap": gap_in_ids,
        "added_tokens not special": change_added(lambda token: token.update(special=False)),
        "added_tokens lstrip and rstrip": change_added(lambda token: token.update(lstrip=True, rstrip=True)),
        "added_tokens single_word": change_added(lambda token: token.update(single_word=True)),
        "added_tokens normalized": change_added(lambda token: token.update(normalized=True)),
        "added_tokens in reverse order": change_json(lambda tokenizer: tokenizer["added_tokens"].reverse()),
        "added_tokens without flags": change_added(lambda token: [token.pop(flag) for flag in ("lstrip", "rstrip")]),
        "merges as strings": merges_as(str),
        "merges as pairs": merges_as(list),
        "model without type": drop_from_model("type"),
        "model without optional fields": drop_from_model(
            "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
            "ignore_merges"),
        "model ignore_merges": change_json(lambda tokenizer: tokenizer["model"].update(ignore_merges=True)),
        "model dropout 0": change_json(lambda tokenizer: tokenizer["model"].update(dropout=0.0)),
        "truncation of 4 tokens": set_json(
            truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}),
        "padding to 64 tokens": set_json(
            padding={"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "<pad>"}),
        "post_processor null": set_json(post_processor=None),
        "post_processor with bos": change_json(with_bos_template),
        "decoder null": set_json(decoder=None),
        "pre_tokenizer null": set_json(pre_tokenizer=None),
        "version absent": change_json(lambda tokenizer: tokenizer.pop("version", None)),
        "byte order mark": lambda c: c.write(JSON, b"\xef\xbb\xbf" + (c.path / JSON).read_bytes()),
        "ASCII escapes": lambda c: c.write(JSON, json.dumps(c.json(JSON))),
        "LFS pointer": lambda c: c.write(JSON, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        "config byte order mark": lambda c: c.write(CONFIG, b"\xef\xbb\xbf" + json.dumps(c.json(CONFIG)).encode()),
    }  # fmt: skip


def flags() -> dict[str, Change]:
    return {
        "add_bos_token true": setting(add_bos_token=True),
        "add_bos_token false": setting(add_bos_token=False),
        "add_bos_token null": setting(add_bos_token=None),
        "add_eos_token true": setting(add_eos_token=True),
        "add_eos_token false": setting(add_eos_token=False),
        "add_prefix_space true": setting(add_prefix_space=True),
        "add_prefix_space false": setting(add_prefix_space=False),
        "add_prefix_space null": setting(add_prefix_space=None),
        "legacy true": setting(legacy=True),
        "legacy false": setting(legacy=False),
        "split_special_tokens true": setting(split_special_tokens=True),
        "split_special_tokens false": setting(split_special_tokens=False),
        "clean_up_tokenization_spaces true": setting(clean_up_tokenization_spaces=True),
        "spaces_between_special_tokens true": setting(spaces_between_special_tokens=True),
        "do_lower_case true": setting(do_lower_case=True),
        "model_max_length huge": setting(model_max_length=1000000000000000019884624838656),
        "model_max_length 4": setting(model_max_length=4),
        "model_max_length null": setting(model_max_length=None),
        "use_default_system_prompt": setting(use_default_system_prompt=True, sp_model_kwargs={}, errors="replace"),
        "padding_side and truncation": setting(
            padding_side="left", truncation_side="left", max_length=4, stride=0, truncation_strategy="longest_first",
            padding=True, pad_to_multiple_of=8),
        "class absent": without("tokenizer_class"),
        "class null": setting(tokenizer_class=None),
        "class of the author's own": setting(tokenizer_class="MyTokenizer"),
        "auto_map": setting(auto_map={"AutoTokenizer": ["tokenization_my.MyTokenizer", None]}),
        "odd fields": setting(
            name_or_path="a/b", special_tokens_map_file="/nowhere", tokenizer_file=None, backend="tokenizers",
            is_local=True, from_slow=True, processor_class="MyProcessor", device_map="auto", unk_token_id=0),
        "NaN": lambda c: c.write(CONFIG, json.dumps(c.json(CONFIG) | {"ratio": float("nan")})),
    }  # fmt: skip


VARIATIONS: dict[str, Change] = files() | named_tokens() | flags() | classes()
