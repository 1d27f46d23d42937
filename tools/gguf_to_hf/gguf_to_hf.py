#!/usr/bin/env python3
"""Writes a GGUF file as a Hugging Face directory, its quantised weights as plain floats.

    python3 gguf_to_hf.py MODEL.gguf OUT

For Llama models with a byte-level BPE tokenizer. Nothing is guessed: what the
file says that this program does not know is an error. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import safetensors_file
import tokenizer_files

# GGUF's name -> Hugging Face's, both within a block.
BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
MODEL_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


class Metadata:
    """The key-value pairs of a GGUF file, which remembers those of the architecture that nobody asked for."""

    def __init__(self, reader: gguf.GGUFReader) -> None:
        self._values = {key: field.contents() for key, field in reader.fields.items()}
        self.architecture = self.get("general.architecture")
        self._unread = {key for key in self._values if key.startswith(f"{self.architecture}.")}

    def get(self, key: str, default: object = None) -> object:
        if key not in self._values and default is None:
            raise SystemExit(f"the file lacks {key}")
        return self._values.get(key, default)

    def shape(self, name: str, default: object = None) -> object:
        self._unread.discard(f"{self.architecture}.{name}")
        return self.get(f"{self.architecture}.{name}", default)

    def refuse_unread(self) -> None:
        if self._unread:
            raise SystemExit(f"what these keys mean for a {self.architecture} is not known: {sorted(self._unread)}")


def short_float(value: object) -> float:
    """GGUF stores float32: the shortest decimal that means the same, which is what the model's author wrote."""
    return float(str(np.float32(value)))


def make_config(metadata: Metadata, dtype: str, tied: bool) -> dict[str, object]:
    heads = metadata.shape("attention.head_count")
    hidden = metadata.shape("embedding_length")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": metadata.shape("feed_forward_length"),
        "num_hidden_layers": metadata.shape("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.shape("attention.head_count_kv", heads),
        "head_dim": metadata.shape("rope.dimension_count", hidden // heads),
        "max_position_embeddings": metadata.shape("context_length"),
        "rms_norm_eps": short_float(metadata.shape("attention.layer_norm_rms_epsilon")),
        "rope_theta": short_float(metadata.shape("rope.freq_base", 10000.0)),
        "vocab_size": metadata.shape("vocab_size", len(metadata.get("tokenizer.ggml.tokens"))),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
        "torch_dtype": dtype,
    }
    metadata.refuse_unread()
    return config


def hugging_face_name(name: str) -> str:
    if name in MODEL_TENSORS:
        return MODEL_TENSORS[name]
    match name.split("."):
        case ["blk", block, part, "weight"] if part in BLOCK_TENSORS:
            return f"model.layers.{block}.{BLOCK_TENSORS[part]}.weight"
    raise SystemExit(f"tensor {name} has no place in a Llama model of Hugging Face")


def rotate_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head from pairs beside each other, which GGUF's rope turns, to pairs half a head apart."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def make_tensor(tensor: gguf.ReaderTensor, config: dict[str, object]) -> np.ndarray:
    weights = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
    if tensor.name.endswith("attn_q.weight"):
        return rotate_halves(weights, config["num_attention_heads"])
    if tensor.name.endswith("attn_k.weight"):
        return rotate_halves(weights, config["num_key_value_heads"])
    return weights


def write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def convert(source: Path, out: Path, dtype: str) -> None:
    reader = gguf.GGUFReader(source)
    metadata = Metadata(reader)
    if metadata.architecture != "llama":
        raise SystemExit(f"{source}: architecture {metadata.architecture} is not supported: only llama is")
    names = [tensor.name for tensor in reader.tensors]
    config = make_config(metadata, dtype, tied="output.weight" not in names)
    specs = {hugging_face_name(tensor.name): tensor for tensor in reader.tensors}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", config)
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    write_json(out / "generation_config.json", {key: config[key] for key in special})
    write_json(out / "tokenizer.json", tokenizer_files.make_tokenizer(metadata.get))
    write_json(out / "tokenizer_config.json", tokenizer_files.make_tokenizer_config(metadata.get, config))
    shapes = {name: [int(size) for size in tensor.shape[::-1]] for name, tensor in specs.items()}
    with safetensors_file.Writer(out / "model.safetensors", shapes, dtype) as writer:
        for name in writer.order:
            writer.add(make_tensor(specs[name], config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the .gguf file")
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--dtype", choices=sorted(safetensors_file.DTYPES), default="bfloat16", help="of the weights")
    args = parser.parse_args()
    convert(args.source, args.out, args.dtype)
    print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
