"""Writes a training checkpoint as a Hugging Face model folder in bfloat16.

    python export.py --preset tiny --work-dir /some/scratch/tiny --out models/tiny
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import corpus
from tokenizer import save_tokenizer
from train import PRESETS


def config_json(config: LlamaConfig) -> dict[str, object]:
    """config.json in the form that Llama checkpoints are published in."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "pad_token_id": config.pad_token_id,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def generation_config_json(config: LlamaConfig, end_of_text: int) -> dict[str, object]:
    """Stops at the end of a turn and at the end of a raw text alike."""
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": [config.eos_token_id, end_of_text],
        "pad_token_id": config.pad_token_id,
        "do_sample": True,
        "temperature": 0.2,  # above, stories slip too often
    }


def write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(preset: str, checkpoint: Path, tokenizer_path: Path, out: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    config = PRESETS[preset].config(tokenizer)
    weights = torch.load(checkpoint, weights_only=True)["model"]
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in weights.items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    write_json(out / "config.json", config_json(config))
    end_of_text = tokenizer.token_to_id(corpus.END_OF_TEXT)
    write_json(out / "generation_config.json", generation_config_json(config, end_of_text))
    save_tokenizer(tokenizer, out, config.max_position_embeddings)
    check(out)


def check(folder: Path) -> None:
    """Loads the folder back and compares the chat template with the corpus."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16, model.dtype
    assert model.config.tie_word_embeddings
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello  there"},
        {"role": "assistant", "content": "Hi!"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == corpus.chat_text(messages), rendered
    count = sum(p.numel() for p in model.parameters())
    print(f"{folder}: {count} parameters, {(folder / 'model.safetensors').stat().st_size} bytes of weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json when it is not in the work dir")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = args.tokenizer or args.work_dir / "tokenizer.json"
    export(args.preset, args.work_dir / "checkpoint.pt", tokenizer, args.out)


if __name__ == "__main__":
    main()
