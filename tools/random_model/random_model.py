#!/usr/bin/env python3
"""Writes a model of any supported shape with random weights, in Hugging Face layout.

    python3 random_model.py OUT --preset llama-3.2-1b --vocab-size 32768 --seed 1

For benchmarks and for tests at real sizes: the text means nothing, but every
tensor has the real shape, activations stay of ordinary size, and a byte-level
tokenizer with a chat template comes along, so that any server can load it.
Needs numpy, but for small models; a tensor is never in memory as a whole. See README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import other_python
import plain_normals
import random_tokenizer

try:
    import numpy as np
except ImportError:
    np = None

CHUNK_ELEMENTS = 1 << 22
MAX_PLAIN_PARAMETERS = 20_000_000  # half a minute without numpy

FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=32.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)

# What config.json says, by the names of Transformers.
PRESETS = {
    "tiny": dict(
        model_type="llama", vocab_size=512, hidden_size=64, intermediate_size=176, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
    ),
    "125m": dict(
        model_type="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100000.0,
        tie_word_embeddings=True,
    ),
    "llama-3.2-1b": dict(
        model_type="llama", vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, max_position_embeddings=131072,
        rope_theta=500000.0, rope_scaling=LLAMA3_ROPE, tie_word_embeddings=True,
    ),
    "llama-3.1-8b": dict(
        model_type="llama", vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128, max_position_embeddings=131072,
        rope_theta=500000.0, rope_scaling=LLAMA3_ROPE | dict(factor=8.0), tie_word_embeddings=False,
    ),
    "mistral-7b": dict(
        model_type="mistral", vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128, max_position_embeddings=32768,
        rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=False,
    ),
    "qwen2.5-0.5b": dict(
        model_type="qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6,
        rope_theta=1000000.0, tie_word_embeddings=True,
    ),
    "qwen3-0.6b": dict(
        model_type="qwen3", vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40960,
        rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
    ),
}  # fmt: skip

DEFAULTS = dict(rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, hidden_act="silu")


@dataclass(frozen=True)
class TensorSpec:
    """Values are mean + std * N(0, 1)."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def make_config(preset: dict, overrides: dict, dtype: str) -> dict:
    config = DEFAULTS | preset | overrides
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    if config["model_type"] == "mistral":
        config.setdefault("sliding_window", None)
    if config["model_type"] in ("qwen2", "qwen3"):
        config["use_sliding_window"] = False
    if config["model_type"] in ("llama", "qwen3"):
        config.setdefault("attention_bias", False)
    if config["model_type"] == "llama":
        config["mlp_bias"] = False
    if config["model_type"] == "qwen2" and config["head_dim"] * config["num_attention_heads"] != config["hidden_size"]:
        raise SystemExit("qwen2 has no head_dim of its own: hidden_size must be num_attention_heads * head_dim")
    if config["num_attention_heads"] % config["num_key_value_heads"] or config["head_dim"] % 2:
        raise SystemExit("num_key_value_heads must divide num_attention_heads, and head_dim must be even")
    config |= {
        "architectures": [FAMILIES[config["model_type"]]],
        "bos_token_id": random_tokenizer.BOS_ID,
        "eos_token_id": random_tokenizer.EOS_ID,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    return dict(sorted(config.items()))


def tensor_specs(config: dict) -> list[TensorSpec]:
    """Products of normalised inputs have unit variance; what returns to the residual stream is scaled by its depth."""
    hidden, mlp, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    q_rows = config["num_attention_heads"] * config["head_dim"]
    kv_rows = config["num_key_value_heads"] * config["head_dim"]
    family = config["model_type"]
    qkv_bias = family == "qwen2" or config.get("attention_bias", False)
    o_bias = family != "qwen2" and config.get("attention_bias", False)
    residual = 1 / math.sqrt(2 * layers)
    specs = []

    def norm(name: str, size: int) -> None:
        specs.append(TensorSpec(name + ".weight", (size,), 1.0, 0.1))

    def linear(name: str, rows: int, columns: int, scale: float = 1.0, bias: bool = False) -> None:
        specs.append(TensorSpec(name + ".weight", (rows, columns), 0.0, scale / math.sqrt(columns)))
        if bias:
            specs.append(TensorSpec(name + ".bias", (rows,), 0.0, 0.1 * scale))

    linear("model.embed_tokens", config["vocab_size"], hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        norm(layer + "input_layernorm", hidden)
        for name, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
            linear(f"{layer}self_attn.{name}_proj", rows, hidden, bias=qkv_bias)
        if family == "qwen3":
            norm(layer + "self_attn.q_norm", config["head_dim"])
            norm(layer + "self_attn.k_norm", config["head_dim"])
        linear(layer + "self_attn.o_proj", hidden, q_rows, residual, o_bias)
        norm(layer + "post_attention_layernorm", hidden)
        linear(layer + "mlp.gate_proj", mlp, hidden)
        linear(layer + "mlp.up_proj", mlp, hidden)
        linear(layer + "mlp.down_proj", hidden, mlp, residual)
    norm("model.norm", hidden)
    if not config["tie_word_embeddings"]:
        linear("lm_head", config["vocab_size"], hidden)
    return specs


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Rounds float32 to nearest even, as the upper halves. No NaN comes here."""
    bits = values.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")


def need_numpy(specs: list[TensorSpec]) -> None:
    """Goes on with another Python if this one lacks numpy; without any, small models are made in plain Python."""
    if np is not None:
        return
    other_python.run_with("numpy", needed=sum(spec.size for spec in specs) > MAX_PLAIN_PARAMETERS)
    print("random_model: no numpy: plain Python draws other weights than numpy does", file=sys.stderr)


def write_tensor(file, spec: TensorSpec, dtype: str, seed: int) -> None:
    if np is None:
        for chunk in plain_normals.chunks(spec.name, spec.size, spec.mean, spec.std, dtype, seed):
            file.write(chunk)
        return
    # Seeded by name: the same values whatever else the model holds.
    generator = np.random.Generator(np.random.SFC64([seed, zlib.crc32(spec.name.encode())]))
    for begin in range(0, spec.size, CHUNK_ELEMENTS):
        count = min(CHUNK_ELEMENTS, spec.size - begin)
        values = generator.standard_normal(count, dtype=np.float32)
        values *= np.float32(spec.std)
        values += np.float32(spec.mean)
        file.write((to_bf16(values) if dtype == "bfloat16" else values.astype("<f4", copy=False)).data)


def write_safetensors(path: Path, specs: list[TensorSpec], dtype: str, seed: int) -> None:
    element = 2 if dtype == "bfloat16" else 4
    name = "BF16" if dtype == "bfloat16" else "F32"
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in specs:
        begin, end = end, end + spec.size * element
        header[spec.name] = {"dtype": name, "shape": list(spec.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for spec in specs:
            write_tensor(file, spec, dtype, seed)
    unfinished.rename(path)


def split_shards(specs: list[TensorSpec], element: int, limit: int) -> list[list[TensorSpec]]:
    shards: list[list[TensorSpec]] = [[]]
    size = 0
    for spec in specs:
        if shards[-1] and limit and size + spec.size * element > limit:
            shards.append([])
            size = 0
        shards[-1].append(spec)
        size += spec.size * element
    return shards


def write_weights(out: Path, specs: list[TensorSpec], dtype: str, seed: int, max_shard_bytes: int) -> None:
    element = 2 if dtype == "bfloat16" else 4
    shards = split_shards(specs, element, max_shard_bytes)
    if len(shards) == 1:
        write_safetensors(out / "model.safetensors", specs, dtype, seed)
        return
    weight_map = {}
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        write_safetensors(out / file, shard, dtype, seed)
        weight_map |= {spec.name: file for spec in shard}
    total = sum(spec.size for spec in specs) * element
    write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a random model in Hugging Face layout.")
    parser.add_argument("out", type=Path, help="directory to write; made if it is not there")
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--model-type", choices=FAMILIES)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-shard-bytes", type=int, default=0, help="0: one file")
    shape = parser.add_argument_group("shape", "each replaces the preset's value in config.json")
    for name in ("vocab-size", "hidden-size", "intermediate-size", "num-hidden-layers", "num-attention-heads",
                 "num-key-value-heads", "head-dim", "max-position-embeddings", "sliding-window"):  # fmt: skip
        shape.add_argument("--" + name, type=int)
    shape.add_argument("--rope-theta", type=float)
    shape.add_argument("--rms-norm-eps", type=float)
    shape.add_argument("--rope-scaling", type=json.loads, help="JSON object, or null")
    shape.add_argument("--tie-word-embeddings", action=argparse.BooleanOptionalAction)
    shape.add_argument("--attention-bias", action=argparse.BooleanOptionalAction)
    return parser.parse_args(arguments)


NOT_CONFIG = ("out", "preset", "dtype", "seed", "max_shard_bytes")


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    given = {k: v for k, v in vars(options).items() if k not in NOT_CONFIG and v is not None}
    preset = dict(PRESETS[options.preset])
    if {"hidden_size", "num_attention_heads"} & given.keys():
        preset.pop("head_dim", None)
    config = make_config(preset, given, options.dtype)
    specs = tensor_specs(config)
    need_numpy(specs)

    options.out.mkdir(parents=True, exist_ok=True)
    for stale in options.out.glob("model*.safetensors*"):
        stale.unlink()
    random_tokenizer.write(options.out, config["vocab_size"], config["max_position_embeddings"])
    write_json(options.out / "config.json", config)
    write_json(
        options.out / "generation_config.json",
        {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]},
    )
    write_weights(options.out, specs, options.dtype, options.seed, options.max_shard_bytes)
    parameters = sum(spec.size for spec in specs)
    print(f"{options.out}: {FAMILIES[config['model_type']]}, {parameters:,} parameters, {options.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
