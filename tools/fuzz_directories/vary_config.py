"""config.json as different versions and authors write it."""

from __future__ import annotations

from collections.abc import Callable

from checkpoint import Checkpoint

CONFIG = "config.json"
Change = Callable[[Checkpoint], None]
ROPE = ("rope_theta", "rope_scaling", "rope_parameters")
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
MANY = ("attention_bias", "mlp_bias", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id",
        "head_dim", "torch_dtype", "quantization_config", "decoder_start_token_id", "layer_types")  # fmt: skip


def setting(**fields: object) -> Change:
    return lambda c: c.set(CONFIG, **fields)


def without(*fields: str) -> Change:
    return lambda c: c.drop(CONFIG, *fields)


def rope(**fields: object) -> Change:
    """Only these fields say what the rope is."""
    return lambda c: (c.drop(CONFIG, *ROPE), c.set(CONFIG, **fields))


def dtype(**fields: object) -> Change:
    return lambda c: (c.drop(CONFIG, "torch_dtype", "dtype"), c.set(CONFIG, **fields))


def theta(c: Checkpoint) -> float:
    config = c.json(CONFIG)
    parameters = config.get("rope_parameters") or {}
    return config.get("rope_theta") or parameters.get("rope_theta", 10000.0)


def rope_parameters_only(c: Checkpoint) -> None:
    rope(rope_parameters={"rope_theta": theta(c), "rope_type": "default"})(c)


def rewritten(change: Callable[[str], str | bytes]) -> Change:
    return lambda c: c.write(CONFIG, change((c.path / CONFIG).read_text(encoding="utf-8")))


def with_raw(field: str) -> Change:
    """Adds text that Python's json reads, though it is no JSON."""
    return rewritten(lambda text: text.rstrip().removesuffix("}").rstrip() + ",\n  " + field + "\n}\n")


def other_case(c: Checkpoint) -> None:
    (name,) = c.json(CONFIG)["architectures"]
    c.set(CONFIG, architectures=[name.replace("Llama", "LLaMA").replace("Qwen", "QWen")])


def base_model(c: Checkpoint) -> None:
    (name,) = c.json(CONFIG)["architectures"]
    c.set(CONFIG, architectures=[name.replace("ForCausalLM", "Model")])


VARIATIONS: dict[str, Change] = {
    "architectures absent": without("architectures"),
    "architectures null": setting(architectures=None),
    "architectures empty": setting(architectures=[]),
    "architectures in other capitals": other_case,
    "architectures names the base model": base_model,
    "architectures names another head": setting(architectures=["LlamaForSequenceClassification"]),
    "architectures of the author's own": setting(architectures=["MyForCausalLM"]),
    "model_type absent": without("model_type"),
    "model_type in capitals": lambda c: c.set(CONFIG, model_type=c.json(CONFIG)["model_type"].upper()),
    "torch_dtype float32": dtype(torch_dtype="float32"),
    "torch_dtype torch.float16": dtype(torch_dtype="torch.float16"),
    "torch_dtype auto": dtype(torch_dtype="auto"),
    "torch_dtype null": dtype(torch_dtype=None),
    "torch_dtype float64": dtype(torch_dtype="float64"),
    "torch_dtype float8_e4m3fn": dtype(torch_dtype="float8_e4m3fn"),
    "dtype bfloat16": dtype(dtype="bfloat16"),
    "dtype auto": dtype(dtype="auto"),
    "dtype null, torch_dtype float32": dtype(dtype=None, torch_dtype="float32"),
    "dtype and torch_dtype differ": dtype(dtype="float32", torch_dtype="bfloat16"),
    "dtype absent": dtype(),
    "rope absent": rope(),
    "rope_parameters only": rope_parameters_only,
    "rope_parameters other theta": rope(rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}),
    "rope_parameters without rope_type": rope(rope_parameters={"rope_theta": 500000.0}),
    "rope_parameters null": rope(rope_theta=500000.0, rope_parameters=None),
    "rope_parameters empty": rope(rope_theta=500000.0, rope_parameters={}),
    "rope_parameters without theta": rope(rope_theta=500000.0, rope_parameters={"rope_type": "default"}),
    "rope_parameters against rope_theta": rope(
        rope_theta=2000.0, rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}
    ),
    "rope_parameters beside rope_scaling null": rope(
        rope_scaling=None, rope_parameters={"rope_theta": 500000.0, "rope_type": "default"}
    ),
    "rope_parameters beside rope_scaling linear": rope(
        rope_theta=10000.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0},
        rope_parameters={"rope_theta": 500000.0, "rope_type": "default"},
    ),
    "rope_scaling null": rope(rope_theta=500000.0, rope_scaling=None),
    "rope_scaling empty": rope(rope_theta=500000.0, rope_scaling={}),
    "rope_scaling default": rope(rope_theta=500000.0, rope_scaling={"type": "default"}),
    "rope_scaling linear, old type": rope(rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 2.0}),
    "rope_scaling linear, factor int": rope(rope_theta=10000, rope_scaling={"type": "linear", "factor": 2}),
    "rope_scaling type and rope_type": rope(
        rope_theta=10000.0, rope_scaling={"type": "linear", "rope_type": "linear", "factor": 2.0}
    ),
    "rope_scaling type against rope_type": rope(
        rope_theta=10000.0, rope_scaling={"type": "dynamic", "rope_type": "linear", "factor": 2.0}
    ),
    "rope_scaling dynamic": rope(rope_theta=10000.0, rope_scaling={"type": "dynamic", "factor": 2.0}),
    "rope_scaling llama3": rope(
        rope_theta=500000.0, rope_scaling=LLAMA3 | {"original_max_position_embeddings": 512}
    ),
    "rope_scaling yarn": rope(
        rope_theta=10000.0,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    ),
    "rope_scaling yarn, unknown field": rope(
        rope_theta=10000.0,
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "finetuned": True},
    ),
    "rope_theta int": rope(rope_theta=500000),
    "rope_theta null": rope(rope_theta=None),
    "rope_theta below 2 (nonsense)": rope(rope_theta=1.5),
    "partial_rotary_factor 1": setting(partial_rotary_factor=1.0),
    "many nulls": setting(**dict.fromkeys(MANY)),
    "head_dim absent": without("head_dim"),
    "num_key_value_heads null": setting(num_key_value_heads=None),
    "attention_bias null": setting(attention_bias=None),
    "tie_word_embeddings null": setting(tie_word_embeddings=None),
    "rms_norm_eps null (nonsense)": setting(rms_norm_eps=None),
    "hidden_act null (nonsense)": setting(hidden_act=None),
    "rms_norm_eps absent": without("rms_norm_eps"),
    "max_position_embeddings null": setting(max_position_embeddings=None),
    "whole numbers as floats": lambda c: c.set(CONFIG, hidden_size=float(c.json(CONFIG)["hidden_size"])),
    "vocab_size as a string (nonsense)": lambda c: c.set(CONFIG, vocab_size=str(c.json(CONFIG)["vocab_size"])),
    "pretraining_tp 1": setting(pretraining_tp=1),
    "pretraining_tp 2": setting(pretraining_tp=2),
    "auto_map": setting(auto_map={"AutoModelForCausalLM": "modeling_my.MyForCausalLM"}),
    "quantization_config null": setting(quantization_config=None),
    "quantization_config empty": setting(quantization_config={}),
    "sampling fields of old": setting(temperature=0.7, top_p=0.9, max_length=20, do_sample=True, num_beams=1),
    "odd fields": setting(
        _name_or_path="a/b", id2label={"0": "a"}, task_specific_params=None, transformers_version=None,
        torchscript=False, use_bfloat16=False, is_decoder=False, chunk_size_feed_forward=0, pruned_heads={},
        attention_dropout=0.0, use_cache=True, initializer_range=0.02, transformers_js_config={"dtype": {}},
    ),
    "sliding_window of a Llama": setting(sliding_window=4, use_sliding_window=False, max_window_layers=1),
    "layer_types full": lambda c: c.set(
        CONFIG, layer_types=["full_attention"] * c.json(CONFIG)["num_hidden_layers"]
    ),
    "bos_token_id -1": setting(bos_token_id=-1),
    "eos_token_id -1": lambda c: (c.set(CONFIG, eos_token_id=-1), c.remove("generation_config.json")),
    "pad_token_id -1": setting(pad_token_id=-1),
    "pad_token_id beyond the vocabulary": setting(pad_token_id=10_000_000),
    "bos_token_id beyond the vocabulary": setting(bos_token_id=10_000_000),
    "eos_token_id beyond the vocabulary": lambda c: (
        c.set(CONFIG, eos_token_id=10_000_000), c.remove("generation_config.json")
    ),
    "eos_token_id list": lambda c: (c.set(CONFIG, eos_token_id=[5, 9]), c.remove("generation_config.json")),
    "eos_token_id list of one": lambda c: (c.set(CONFIG, eos_token_id=[5]), c.remove("generation_config.json")),
    "eos_token_id empty list": lambda c: (c.set(CONFIG, eos_token_id=[]), c.remove("generation_config.json")),
    "eos_token_id absent": lambda c: (c.drop(CONFIG, "eos_token_id"), c.remove("generation_config.json")),
    "eos_token_id null": lambda c: (c.set(CONFIG, eos_token_id=None), c.remove("generation_config.json")),
    "bos_token_id list (nonsense)": setting(bos_token_id=[1]),
    "NaN": with_raw('"initializer_range": NaN'),
    "Infinity": with_raw('"embedding_clip": Infinity, "low": -Infinity'),
    "duplicate key": with_raw('"tie_word_embeddings": true'),
    "huge integer": with_raw('"model_max_length": 1000000000000000019884624838656'),
    "byte order mark": rewritten(lambda text: b"\xef\xbb\xbf" + text.encode()),
    "one line, CRLF at the end": rewritten(lambda text: " ".join(text.split("\n")) + "\r\n"),
    "LFS pointer": rewritten(lambda _: "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
}  # fmt: skip
