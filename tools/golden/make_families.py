"""Makes tiny random models of each supported family, with golden outputs.

    python make_families.py --out tests/goldens/models

Every folder is a model in Hugging Face layout and a `golden.json` with what
Transformers computes from it on a CPU in float32 with eager attention (bf16
weights are widened first). Seeds are searched upwards from a fixed start until
the best two logits of every greedy step are well apart, so that a correct
implementation with another order of summation picks the same tokens, and until
no greedy path circles among a few tokens, which would hide mistakes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

PROMPT_LENGTHS = (1, 7, 40, 150)
GREEDY_TOKENS = 32
MIN_GAP = 4e-3
MIN_DISTINCT = 8
LOGIT_DECIMALS = 7

COMMON = dict(
    vocab_size=288,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
)
LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
YARN_ROPE = dict(
    rope_type="yarn",
    factor=4.0,
    original_max_position_embeddings=64,
    beta_fast=32.0,
    beta_slow=1.0,
)
# Windows beside full layers, more of the former; the window ends within a block of every size.
WINDOWS = dict(
    use_sliding_window=True,
    sliding_window=21,
    max_window_layers=0,
    layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
)


@dataclass(frozen=True)
class Family:
    """A model to make. `shape` overrides COMMON; rope goes in as published.

    Checkpoints carry rope in two ways: `rope_theta` beside `rope_scaling`, or
    both inside `rope_parameters`. `nested_rope` picks the second.
    """

    name: str
    config_class: type[PreTrainedConfig]
    shape: dict[str, object] = field(default_factory=dict)
    rope_theta: float = 10000.0
    rope_scaling: dict[str, object] | None = None
    nested_rope: bool = False
    dtype: torch.dtype = torch.float32
    shards: int = 1
    std: float = 0.12


FAMILIES = [
    Family("llama2", LlamaConfig, dict(num_key_value_heads=4, rms_norm_eps=1e-5, intermediate_size=128)),
    Family(
        "llama2-bf16",
        LlamaConfig,
        dict(num_key_value_heads=4, rms_norm_eps=1e-5, num_hidden_layers=3),
        dtype=torch.bfloat16,
    ),
    Family(
        "llama3",
        LlamaConfig,
        dict(vocab_size=320, num_hidden_layers=3, rms_norm_eps=1e-5, tie_word_embeddings=True),
        rope_theta=500000.0,
        rope_scaling=LLAMA3_ROPE,
        shards=3,
    ),
    Family(
        "llama3-nested-rope",
        LlamaConfig,
        dict(vocab_size=320, rms_norm_eps=1e-5, tie_word_embeddings=True),
        rope_theta=500000.0,
        rope_scaling=LLAMA3_ROPE,
        nested_rope=True,
    ),
    Family("llama-linear-rope", LlamaConfig, rope_scaling=dict(rope_type="linear", factor=4.0)),
    Family(
        "llama-yarn", LlamaConfig, dict(intermediate_size=100, max_position_embeddings=256), rope_scaling=YARN_ROPE
    ),
    Family("mistral-window", MistralConfig, dict(sliding_window=64, head_dim=32, rms_norm_eps=1e-5)),
    Family("mistral-full", MistralConfig, dict(sliding_window=None, head_dim=16, vocab_size=256), nested_rope=True),
    Family("qwen2", Qwen2Config, dict(tie_word_embeddings=True), rope_theta=1000000.0),
    Family("qwen2-bf16", Qwen2Config, dict(num_hidden_layers=3), rope_theta=1000000.0, dtype=torch.bfloat16),
    Family("qwen3", Qwen3Config, dict(head_dim=32, tie_word_embeddings=True), rope_theta=1000000.0),
    Family("qwen3-untied", Qwen3Config, dict(head_dim=32, num_hidden_layers=3), rope_theta=1000000.0, nested_rope=True),
    Family("qwen3-windows", Qwen3Config, dict(head_dim=16, num_hidden_layers=5, **WINDOWS), rope_theta=1000000.0),
]

# How Transformers names things in config.json, beyond the shape itself.
ARCHITECTURES = {
    LlamaConfig: {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False},
    MistralConfig: {"architectures": ["MistralForCausalLM"], "model_type": "mistral"},
    Qwen2Config: {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False},
    Qwen3Config: {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "use_sliding_window": False},
}


def config_json(family: Family) -> dict[str, object]:
    """config.json in the form that the family's checkpoints are published in."""
    config = {**ARCHITECTURES[family.config_class], "hidden_act": "silu", **COMMON, **family.shape}
    if family.nested_rope:
        scaling = family.rope_scaling or {"rope_type": "default"}
        config["rope_parameters"] = {**scaling, "rope_theta": family.rope_theta}
    else:
        config["rope_theta"] = family.rope_theta
        config["rope_scaling"] = family.rope_scaling
    config["torch_dtype"] = str(family.dtype).removeprefix("torch.")
    config["use_cache"] = True
    return dict(sorted(config.items()))


def random_weights(
    model: torch.nn.Module, std: float, tied: bool, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Spread-out weights: norms around one, everything else around zero.

    A tied embedding is made smaller, or each token would best predict itself.
    """
    weights = {}
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        scale = std / 3 if tied and "embed_tokens" in name else std
        is_norm = name.endswith("norm.weight")
        weights[name] = 1 + 0.2 * noise if is_norm else scale * noise
    return weights


def save_weights(folder: Path, weights: dict[str, torch.Tensor], shards: int) -> None:
    """One model.safetensors, or numbered shards with their index."""
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    per_shard = -(-len(names) // shards)
    weight_map = {}
    for shard in range(shards):
        part = names[shard * per_shard : (shard + 1) * per_shard]
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def rounded(values: torch.Tensor) -> list[float]:
    return [round(value, LOGIT_DECIMALS) for value in values.tolist()]


def run_prompt(model: torch.nn.Module, prompt: list[int]) -> dict[str, object]:
    """The golden outputs of one prompt; every step recomputes the whole prefix."""
    ids = list(prompt)
    gaps = []
    for step in range(GREEDY_TOKENS):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        if step == 0:
            logprobs = torch.log_softmax(logits, dim=-1)
            prompt_logprobs = [logprobs[i, prompt[i + 1]] for i in range(len(prompt) - 1)]
            logits_last = logits[-1]
        best = torch.topk(logits[-1], 2)
        gaps.append((best.values[0] - best.values[1]).item())
        ids.append(int(best.indices[0]))
    return {
        "prompt_ids": prompt,
        "logits_last": rounded(logits_last),
        "greedy_ids": ids[len(prompt) :],
        "min_gap": min(gaps),
        "prompt_logprobs": [round(value.item(), LOGIT_DECIMALS) for value in prompt_logprobs],
    }


@torch.inference_mode()
def make(family: Family, out: Path) -> None:
    """Tries seeds until no greedy step is close, then keeps that model."""
    folder = out / family.name
    for seed in range(1, 200):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = config_json(family)
        write_json(folder / "config.json", config)
        generator = torch.Generator().manual_seed(seed)
        skeleton = AutoModelForCausalLM.from_config(family.config_class.from_pretrained(folder))
        weights = random_weights(skeleton, family.std, config["tie_word_embeddings"], generator)
        weights = {name: tensor.to(family.dtype) for name, tensor in weights.items()}
        save_weights(folder, weights, family.shards)

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        prompts = [
            torch.randint(3, config["vocab_size"], (length,), generator=generator).tolist()
            for length in PROMPT_LENGTHS
        ]
        golden = [run_prompt(model, prompt) for prompt in prompts]
        gap = min(entry["min_gap"] for entry in golden)
        distinct = min(len(set(entry["greedy_ids"])) for entry in golden)
        if gap >= MIN_GAP and distinct >= MIN_DISTINCT:
            lines = ",\n".join(json.dumps(entry) for entry in golden)
            (folder / "golden.json").write_text(f'{{"seed": {seed}, "prompts": [\n{lines}\n]}}\n')
            print(f"{family.name}: seed {seed}, smallest gap {gap:.4f}, fewest distinct greedy tokens {distinct}")
            return
    raise RuntimeError(f"{family.name}: no seed gives clear and varied greedy paths; raise its std")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/goldens/models"))
    parser.add_argument("--only", nargs="*", help="names of the families to make")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for family in FAMILIES:
        if not args.only or family.name in args.only:
            make(family, args.out)


if __name__ == "__main__":
    main()
