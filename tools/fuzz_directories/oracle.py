"""What Transformers makes of a directory. Runs in an environment that has it; a JSON job a line in, a result a line out.

    {"op": "probe", "path": DIR, "texts": [...], "conversations": [...], "decode_ids": [[...]] or null}
    {"op": "save", "path": DIR, "out": DIR, "model": {...}, "tokenizer": {...}}   options of save_pretrained
"""

from __future__ import annotations

import json
import os
import random
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_NEW_TOKENS = 6
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def ids_of(encoded: object) -> list[int]:
    return list(encoded) if isinstance(encoded, list) else list(encoded["input_ids"])


def as_list(value: object) -> list[int]:
    if value is None:
        return []
    items = value if isinstance(value, (list, tuple)) else [value]
    return [int(item) for item in items if not isinstance(item, str)]


def decode_lists(tokenizer: object, encoded: list[list[int]]) -> list[list[int]]:
    """The texts' ids, then every special token between two others, then any ids."""
    rng = random.Random(1)
    special = sorted(set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder))
    size = len(tokenizer)
    between = [[rng.randrange(size), token, rng.randrange(size)] for token in special[:40]]
    return encoded + between + [[rng.randrange(size) for _ in range(20)] for _ in range(5)]


def chat_ids(tokenizer: object, messages: list[dict]) -> list[int] | str:
    try:
        return ids_of(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True))
    except Exception as error:
        return brief(error)


def probe_tokenizer(job: dict) -> dict:
    tokenizer = AutoTokenizer.from_pretrained(job["path"])
    special = [ids_of(tokenizer.encode(text)) for text in job["texts"]]
    decode_ids = job["decode_ids"] or decode_lists(tokenizer, special)
    size = len(tokenizer)  # version 4 counts anew each time
    ids = [[i for i in row if i < size] for row in decode_ids]
    # The server's text is what the tokens say: nothing is cleaned up, as in vLLM.
    options = {"clean_up_tokenization_spaces": False}
    return {
        "class": type(tokenizer).__name__,
        "ids": [ids_of(tokenizer.encode(text, add_special_tokens=False)) for text in job["texts"]],
        "ids_special": special,
        "decode_ids": decode_ids,
        "decoded": [tokenizer.decode(row, **options) for row in ids],
        "decoded_skip": [tokenizer.decode(row, skip_special_tokens=True, **options) for row in ids],
        "chat": [chat_ids(tokenizer, messages) for messages in job["conversations"]],
        "tokenizer_eos": as_list(tokenizer.eos_token_id),
    }


def greedy(model: torch.nn.Module, ids: list[int]) -> dict:
    """The tokens, and how close the closest decision was."""
    tokens, gap = list(ids), float("inf")
    for _ in range(MAX_NEW_TOKENS):
        best = torch.topk(model(input_ids=torch.tensor([tokens])).logits[0, -1], 2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        tokens.append(int(best.indices[0]))
    return {"ids": tokens[len(ids) :], "gap": gap}


def sampling_of(config: transformers.GenerationConfig) -> dict:
    """What a request that says nothing is sampled with, as in vLLM."""
    stated = config.to_diff_dict()
    return {name: stated[name] for name in SAMPLING if stated.get(name) is not None}


def probe_model(job: dict) -> dict:
    model, loaded = AutoModelForCausalLM.from_pretrained(
        job["path"], dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    absent = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
    if absent:
        raise ValueError(f"newly initialised or of another shape: {', '.join(absent[:3])}, {len(absent)} in all")
    size = model.get_input_embeddings().weight.shape[0]
    prompts = [[(7 * i + k) % size for i in range(1, 9)] for k in (2, 31)]
    config = model.config
    named = [config.eos_token_id, config.bos_token_id, config.pad_token_id, model.generation_config.eos_token_id]
    return {
        "prompts": prompts,
        "greedy": [greedy(model.eval(), prompt) for prompt in prompts],
        "generation_eos": as_list(model.generation_config.eos_token_id),
        "sampling": sampling_of(model.generation_config),
        "named_ids": sorted({i for value in named for i in as_list(value)}),
        "vocab_size": size,
    }


@torch.inference_mode()
def probe(job: dict) -> dict:
    result = {"tokenizer": {}, "model": {}}
    for part, function in (("tokenizer", probe_tokenizer), ("model", probe_model)):
        try:
            result[part] = function(job)
        except Exception as error:
            result[part] = {"error": brief(error)}
    return result


def save(job: dict) -> dict:
    dtype = getattr(torch, job["model"].pop("dtype", "bfloat16"))
    AutoModelForCausalLM.from_pretrained(job["path"], dtype=dtype).save_pretrained(job["out"], **job["model"])
    AutoTokenizer.from_pretrained(job["path"]).save_pretrained(job["out"], **job["tokenizer"])
    return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    print(json.dumps({"version": transformers.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            result = {"probe": probe, "save": save}[job.pop("op")](job)
        except Exception as error:
            result = {"error": brief(error)}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
