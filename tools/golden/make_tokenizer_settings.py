#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer_settings.json: what AutoTokenizer makes of the files beside a tokenizer.json.

Each case is a directory: one of two tokenizers (models/tiny, and a small SentencePiece-style one that stands in the
golden file), a merge patch of its tokenizer.json, and the files beside it; then the ids of some texts, and which ids
are special. Needs transformers 5 (no torch).
"""
import json
import os
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY = os.path.join(ROOT, "models", "tiny")
TINY_TEXTS = ["ab", " ab", "<|im_end|>b", "a <|im_end|>  b", "x<|tool|> y", "<A><B>", "a<|im_start|>b"]
METASPACE_TEXTS = ["ab", " ab", "<s>ab", "<s> ab", "a</s> b", "a</s>b", "a  b", ""]


def metaspace_tokenizer():
    """A byte-fallback BPE in the older layout: the space is put in front by a normalizer."""
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>"])}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for token in ["▁", "a", "b", "▁a", "ab", "▁ab", "▁b"]:
        vocab[token] = len(vocab)
    special = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
               for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": [["a", "b"], ["▁", "a"], ["▁", "ab"], ["▁", "b"]]},
    }


def token(content, **flags):
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True) | flags


def tiny_cases():
    with open(os.path.join(TINY, "tokenizer_config.json")) as f:
        plain = json.load(f)
    with open(os.path.join(TINY, "tokenizer.json")) as f:
        added = json.load(f)["added_tokens"]
    plain.pop("chat_template")

    def case(label, config=None, patch=None, **files):
        merged = {k: v for k, v in (plain | (config or {})).items() if v != "absent"}
        beside = {"config.json": {"model_type": "llama"}, "tokenizer_config.json": merged} | files
        return dict(label=label, base="tiny", patch=patch or {}, files=beside, texts=TINY_TEXTS)

    without_end = {"added_tokens": [t for t in added if t["content"] != "<|im_end|>"]}
    more = {"<|tool|>": 1280}
    yield case("plain")
    yield case("flags of added_tokens_decoder replace the file's",
               dict(added_tokens_decoder={"3": token("<|im_end|>", rstrip=True)}))
    yield case("a token stays special whatever added_tokens_decoder says",
               dict(added_tokens_decoder={"2": token("<|im_start|>", special=False)}))
    yield case("tokens that are missing get ids by their number, not by their place",
               dict(added_tokens_decoder={"99999": token("<B>"), "9999": token("<A>")}))
    yield case("an end token that is not among the added tokens", patch=without_end)
    yield case("additional special tokens", dict(additional_special_tokens=["<|tool|>"]))
    yield case("extra special tokens", dict(extra_special_tokens=["<|tool|>", "<A>"]))
    yield case("extra special tokens by name", dict(extra_special_tokens={"tool_token": "<|tool|>"}))
    yield case("a token of a name of its own", dict(image_token="<|tool|>"))
    yield case("a token with a type tag", dict(eos_token=token("<|im_end|>") | {"__type": "AddedToken"}))
    yield case("an end token that is a word of the vocabulary", dict(eos_token="b"))
    yield case("an end token that nothing knows", dict(eos_token="<|tool|>"))
    yield case("roles out of special_tokens_map.json",
               **{"special_tokens_map.json": dict(eos_token="b", additional_special_tokens=["<|tool|>"])})
    yield case("roles as objects out of special_tokens_map.json",
               **{"special_tokens_map.json": dict(eos_token=token("b", rstrip=True), pad_token="<|tool|>")})
    yield case("added_tokens_decoder makes special_tokens_map.json void",
               dict(added_tokens_decoder={"3": token("<|im_end|>")}),
               **{"special_tokens_map.json": dict(eos_token="b", additional_special_tokens=["<|tool|>"])})
    yield case("added_tokens.json", **{"added_tokens.json": more})
    yield case("added_tokens.json with a role", dict(additional_special_tokens=["<|tool|>"]),
               **{"added_tokens.json": more})
    yield case("split_special_tokens", dict(split_special_tokens=True))
    yield case("split_special_tokens splits no other added token",
               dict(split_special_tokens=True, added_tokens_decoder={"1280": token("<|tool|>", special=False)}))
    yield case("add_bos_token without a bos_token", dict(bos_token="absent"))
    yield case("add_bos_token with a null bos_token", dict(bos_token=None, tokenizer_class="LlamaTokenizer"))
    yield case("no post-processor", dict(bos_token="absent"), patch={"post_processor": None})
    for name in ["PreTrainedTokenizerFast", "Qwen2Tokenizer", "LlamaTokenizer"]:
        for flag in [True, False, None]:
            yield case(f"add_prefix_space {flag} of {name}", dict(tokenizer_class=name, add_prefix_space=flag))


def metaspace_cases():
    for name in ["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"]:
        for family in ["llama", "mistral"]:
            for legacy in [True, False]:
                for flag in [True, False]:
                    config = dict(tokenizer_class=name, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                  legacy=legacy, add_prefix_space=flag)
                    yield dict(label=f"{family}: add_prefix_space {flag} of {name}, legacy {legacy}", base="metaspace",
                               patch={}, files={"config.json": {"model_type": family}, "tokenizer_config.json": config},
                               texts=METASPACE_TEXTS)


def merge(target, patch):
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def run(case, bases):
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = json.loads(json.dumps(bases[case["base"]]))
        merge(tokenizer, case["patch"])
        tokenizer.setdefault("post_processor", None)
        for name, content in {"tokenizer.json": tokenizer, **case["files"]}.items():
            with open(os.path.join(directory, name), "w") as f:
                json.dump(content, f)
        loaded = transformers.AutoTokenizer.from_pretrained(directory)
    rows = []
    for text in case.pop("texts"):
        ids = loaded(text)["input_ids"]
        rows.append(dict(text=text, ids=ids, decoded=loaded.decode(ids), plain=loaded.decode(ids, skip_special_tokens=True)))
    return case | dict(rows=rows, special=sorted(loaded.all_special_ids), eos=loaded.eos_token_id)


def main():
    with open(os.path.join(TINY, "tokenizer.json")) as f:
        bases = dict(tiny=json.load(f), metaspace=metaspace_tokenizer())
    cases = [run(case, bases) for case in [*tiny_cases(), *metaspace_cases()]]
    path = os.path.join(ROOT, "tests", "goldens", "tokenizer_settings.json")
    with open(path, "w") as f:
        f.write('{"transformers": %s,\n"metaspace": %s,\n"cases": [\n' % (json.dumps(transformers.__version__),
                                                                        json.dumps(bases["metaspace"])))
        f.write(",\n".join(json.dumps(case) for case in cases) + "\n]}\n")
    print(f"{path}: {len(cases)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
