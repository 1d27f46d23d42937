#!/usr/bin/env python3
"""Writes the inputs that the fuzz targets begin with, and a dictionary for each, out of the project's own models and
goldens: make_seeds.py FOLDER makes FOLDER/<target>/* and FOLDER/<target>.dict. Inputs are small, as small ones are fast."""

import json
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDENS = ROOT / "tests/goldens"

UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def deep(key, depth):
    """Brackets within brackets, which whoever walks them by recursion does not survive."""
    return b'{"%s":%s1%s}' % (key.encode(), b"[" * depth, b"]" * depth)


# ---- config.json ----

def config_seeds():
    for directory in [ROOT / "models/tiny", *sorted((GOLDENS / "models").iterdir())]:
        config = compact(read_json(directory / "config.json"))
        generation = directory / "generation_config.json"
        yield directory.name, config + b"\0" + (compact(read_json(generation)) if generation.exists() else b"")
    tiny = read_json(ROOT / "models/tiny/config.json")
    yield "deep", compact(tiny)[:-1] + b"," + deep("hidden_size", 5000)[1:]
    for kind in ("linear", "dynamic", "llama3", "yarn"):
        scaling = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 512, "low_freq_factor": 1,
                   "high_freq_factor": 4, "beta_fast": 32, "beta_slow": 1, "mscale": 1, "mscale_all_dim": 1}
        yield f"rope-{kind}", compact({**tiny, "rope_scaling": scaling})
    qwen = {**tiny, "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 8,
            "max_window_layers": 1, "layer_types": ["full_attention"] * tiny["num_hidden_layers"]}
    generation = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.1,
                  "max_new_tokens": 9, "eos_token_id": [1, 2], "bos_token_id": 0}
    yield "qwen2-window", compact(qwen) + b"\0" + compact(generation)


# ---- safetensors ----

def safetensors(tensors, metadata=None):
    """`tensors`: name -> (dtype, shape, bytes)."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = compact(header)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensors_seeds():
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
             "F8_E4M3": 1, "F8_E5M2": 1}
    every = {f"model.{name}": (name, [2, 3], bytes(range(6 * size))) for name, size in sizes.items()}
    yield "every-type", safetensors(every, {"format": "pt"})
    yield "empty", safetensors({"none": ("F32", [0, 7], b""), "scalar": ("F32", [], b"\0\0\x80\x3f")})
    two = safetensors({"a.weight": ("BF16", [4], b"12345678"), "b.weight": ("F16", [2, 2], b"87654321")})
    yield "two", two
    index = {"metadata": {"total_size": 16}, "weight_map": {"a.weight": "a.safetensors", "b.weight": "b.safetensors"}}
    yield "index", compact(index) + b"\0" + two
    yield "deep", struct.pack("<Q", 4000) + deep("a", 1997)


# ---- tokenizer.json ----

def tiny_tokenizer(num_tokens=300):
    """models/tiny's with its first tokens only."""
    tokenizer = read_json(ROOT / "models/tiny/tokenizer.json")
    model = tokenizer["model"]
    vocab = {token: id for token, id in model["vocab"].items() if id < num_tokens}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    merges = [pair for pair in pairs if {*pair, "".join(pair)} <= vocab.keys()]
    return {**tokenizer, "model": {**model, "vocab": vocab, "merges": merges}}


SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def small_tokenizer(**parts):
    letters = ["<unk>", "<s>", "</s>", "a", "b", "c", "\u2581", "\u0120", "ab", "abc", "\u2581a", "1", "<0x41>", "<0xC3>"]
    return {
        "version": "1.0",
        "added_tokens": [{"id": id, "content": letters[id], **SPECIAL} for id in range(3)],
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {token: id for id, token in enumerate(letters)},
                  "merges": ["a b", ["ab", "c"], "\u2581 a"]},
        **parts,
    }


NORMALIZERS = [
    *({"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel")),
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    {"type": "Replace", "pattern": {"Regex": " {2,}|\\s+$"}, "content": " "},
]
PRE_TOKENIZERS = [
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext", "invert": True},
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
    {"type": "Digits", "individual_digits": True},
    {"type": "Punctuation", "behavior": "Contiguous"},
    *({"type": name} for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")),
]
DECODERS = [
    {"type": "ByteLevel"}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    {"type": "Strip", "content": " ", "start": 1, "stop": 1},
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    {"type": "BPEDecoder", "suffix": "</w>"},
]
SINGLE = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
POST_PROCESSORS = [
    {"type": "TemplateProcessing", "single": SINGLE, "pair": [],
     "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": True},
    {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
]
SETTINGS = {
    "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": {"content": "</s>", **SPECIAL},
    "add_prefix_space": True, "legacy": False, "split_special_tokens": True, "add_bos_token": True,
    "added_tokens_decoder": {"1": {"content": "<s>", **SPECIAL}, "14": {"content": "<x>", **SPECIAL, "lstrip": True}},
    "additional_special_tokens": ["<x>"], "extra_special_tokens": {"image_token": "<image>"},
}


def tokenizer_seeds():
    text = "ab  abc\u00e9 <s>1".encode()
    yield "tiny", compact(tiny_tokenizer()) + b"\0" + text
    yield "metaspace", compact(read_json(GOLDENS / "tokenizer_settings.json")["metaspace"]) + b"\0" + text
    extra = b"\0".join(map(compact, (SETTINGS, {"bos_token": "<s>"}, {"<tool>": 15}, {"model_type": "llama"})))
    yield "settings", b"\0".join((compact(small_tokenizer()), text, extra))
    for i, normalizer in enumerate(NORMALIZERS):
        yield f"normalizer-{i}", compact(small_tokenizer(normalizer=normalizer)) + b"\0" + text
    for i, pre_tokenizer in enumerate(PRE_TOKENIZERS):
        yield f"pre-tokenizer-{i}", compact(small_tokenizer(pre_tokenizer=pre_tokenizer)) + b"\0" + text
    for i, decoder in enumerate(DECODERS):
        yield f"decoder-{i}", compact(small_tokenizer(decoder=decoder)) + b"\0" + text
    for i, post_processor in enumerate(POST_PROCESSORS):
        yield f"post-processor-{i}", compact(small_tokenizer(post_processor=post_processor)) + b"\0" + text
    growing = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"}
    yield "growing", compact(small_tokenizer(
        normalizer={"type": "Sequence", "normalizers": [growing] * 12},
        decoder={"type": "Sequence", "decoders": [growing] * 12})) + b"\0" + text
    yield "sequences", compact(small_tokenizer(
        normalizer={"type": "Sequence", "normalizers": NORMALIZERS[7:]},
        pre_tokenizer={"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[4:6]},
        decoder={"type": "Sequence", "decoders": DECODERS[3:5]},
        post_processor={"type": "Sequence", "processors": POST_PROCESSORS[:1]})) + b"\0" + text


# ---- GGUF ----

def gguf_text(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(value):
    """Its type and its bytes."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return UINT32, struct.pack("<I", value)
    if isinstance(value, float):
        return FLOAT32, struct.pack("<f", value)
    if isinstance(value, list):
        parts = [gguf_value(element) for element in value]
        kind = parts[0][0] if parts else INT32
        return ARRAY, struct.pack("<IQ", kind, len(parts)) + b"".join(raw for _, raw in parts)
    return STRING, gguf_text(value)


def gguf(metadata, tensors, version=3):
    """`tensors`: name -> (number of the type, shape with the slowest dimension first, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, raw = gguf_value(value)
        head += gguf_text(key) + struct.pack("<I", kind) + raw
    data = b""
    for name, (number, shape, values) in tensors.items():
        data += b"\0" * (-len(data) % 32)
        head += gguf_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), number, len(data))
        data += values
    return head + b"\0" * (-len(head) % 32) + data


def gguf_hyperparameters(architecture):
    keys = {"block_count": 1, "context_length": 64, "embedding_length": 8, "feed_forward_length": 8,
            "attention.head_count": 2, "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": 10000.0, "rope.dimension_count": 4, "attention.key_length": 4, "vocab_size": 8,
            "attention.value_length": 4, "expert_count": 0, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32, "attention.sliding_window": 16,
            "attention.sliding_window_pattern": [True]}
    return {"general.architecture": architecture, "general.alignment": 32,
            **{f"{architecture}.{key}": value for key, value in keys.items()},
            "general.sampling.temp": 0.5, "general.sampling.top_k": 5}


def gguf_model(architecture, metadata):
    shapes = {"token_embd.weight": [8, 8], "output_norm.weight": [8], "blk.0.attn_norm.weight": [8],
              "blk.0.attn_q.weight": [8, 8], "blk.0.attn_k.weight": [4, 8], "blk.0.attn_v.weight": [4, 8],
              "blk.0.attn_q.bias": [8], "rope_freqs.weight": [2]}
    tensors = {}
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= size
        tensors[name] = (0, shape, struct.pack("<f", 1.0) * count)
    return gguf({**gguf_hyperparameters(architecture), **metadata}, tensors)


def gguf_bpe():
    letters = ["<s>", "</s>", "<unk>", "a", "b", "c", "\u0120", "ab", "\u0120a", "abc", "1", "<x>"]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": letters,
            "tokenizer.ggml.token_type": [3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 4],
            "tokenizer.ggml.merges": ["a b", "\u0120 a", "ab c"], "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.eot_token_id": 11, "tokenizer.ggml.add_bos_token": True,
            "tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}",
            "tokenizer.chat_template.tool_use": "{{ tools }}"}


def gguf_sentencepiece():
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "ab", "\u2581ab"]
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, -4.0, -3.0, -2.5, -2.0, -1.0],
            "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 1, 1], "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.add_eos_token": True}


def gguf_seeds():
    for architecture in ("llama", "qwen2", "qwen3"):
        yield architecture, gguf_model(architecture, gguf_bpe())
    yield "sentencepiece", gguf_model("llama", gguf_sentencepiece())
    source = (ROOT / "src/text/gguf_pre_tokenizer.cc").read_text(encoding="utf-8")
    for pre in sorted(set(re.findall(r'\{"([a-z0-9-]+)"', source))):
        yield f"pre-{pre}", gguf({**gguf_bpe(), "tokenizer.ggml.pre": pre}, {})
    kinds = read_json(GOLDENS / "gguf_blocks.json")
    tensors = {}
    for kind in kinds:
        values = bytes(i * 37 % 256 for i in range(2 * kind["block_bytes"]))
        tensors[f"t.{kind['name']}"] = (kind["type"], [2, kind["block_size"]], values)
        yield f"type-{kind['name']}", gguf({}, {"t": (kind["type"], [2, kind["block_size"]], values)}, version=2)
    yield "every-type", gguf({"general.name": "t", "a.b": [[1, 2], [3]]}, tensors)


# ---- chat templates ----

def chat_template_seeds():
    for i, row in enumerate(read_json(GOLDENS / "jinja.json")["rows"]):
        if isinstance(row, dict) and isinstance(row.get("template"), str):
            yield f"jinja-{i}", row["template"].encode()
    config = read_json(ROOT / "models/tiny/tokenizer_config.json")
    yield "tiny", b"\0" + compact(config)
    named = [{"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": "{{ tools|tojson }}"}]
    yield "named", b"\0" + compact({"chat_template": named})


TARGETS = {"config": config_seeds, "safetensors": safetensors_seeds, "tokenizer": tokenizer_seeds, "gguf": gguf_seeds,
           "chat_template": chat_template_seeds}


def dictionary(inputs):
    """The words of all inputs, quoted as libFuzzer wants them."""
    words = set()
    for data in inputs:
        words.update(re.findall(rb"[A-Za-z_][A-Za-z0-9_.]{2,40}", data))
    return "".join(f'"{word.decode()}"\n' for word in sorted(words))


def main():
    folder = Path(sys.argv[1])
    for target, seeds in TARGETS.items():
        made = dict(seeds())
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in made.items():
            (folder / target / name).write_bytes(data)
        (folder / f"{target}.dict").write_text(dictionary(made.values()))
        print(f"{target}: {len(made)} inputs, {sum(map(len, made.values()))} bytes")


if __name__ == "__main__":
    main()
