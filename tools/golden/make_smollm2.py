"""Makes the golden answers of SmolLM2-135M-Instruct, a trained model that is not in the repository.

    python make_smollm2.py --model "$(scripts/fetch_model smollm2)"

Writes tests/goldens/smollm2_texts.jsonl, random texts with their ids, and
smollm2.json: conversations, the ids of their prompts, and the greedy tokens that
Transformers computes in float32 from what it reads out of the GGUF file itself:
weights, tokenizer and chat template.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
import transformers
from make_tiny import write_lines
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_NEW_TOKENS = 48
MIN_GAP = 0.002  # of the two best logits; rounding moves a twentieth of it

REPORT = "\n".join(
    f"{day}. On day {day} the ship {verb} {17 * day % 90 + 3} miles, and the crew saw {animal}."
    for day, (verb, animal) in enumerate(
        [("sailed", "two whales"), ("drifted", "a gull"), ("rowed", "nothing"), ("sailed", "an iceberg")] * 6, start=1
    )
)
CODE = 'def mean(values):\n    """The arithmetic mean."""\n    return sum(values) / len(value)\n'


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


CONVERSATIONS = [
    [user("What is the capital of France?")],
    [user("In one sentence: why do leaves fall in autumn?")],
    [system("You are a pirate. Answer as a pirate would."), user("How do I get to the library?")],
    [
        user("My name is Ada and I have 12 apples."),
        assistant("Hello Ada! 12 apples is a lot."),
        user("I eat 3. What is my name, and how many apples are left?"),
    ],
    [user("Übersetze ins Englische: „Der Bär trinkt süßen Tee.“ 🐻🍵")],
    [user("Say hello in 日本語, in Русский and in العربية.")],
    [user(f"This function has a bug. Find it:\n\n```python\n{CODE}```")],
    [system("You write summaries."), user(f"Summarize the log of a voyage:\n\n{REPORT}")],
]


# Pieces of random texts: what pre-tokenizers cut differently, and what looks like control tokens.
PIECES = [
    " ", "   ", "\n\n", "\t", "\r\n", "'s", "'LL", "don't", "12345", "½²", "----", "Hello", " wörld", "東京", "😀",
    "e\u0301", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "<repo_name>", "\u00a0", "\u3000", "ไทย",
]  # fmt: skip


def random_texts(count: int) -> list[str]:
    draw = random.Random(20260302)

    def piece() -> str:
        character = chr(draw.randrange(0x20, 0x2000 if draw.random() < 0.5 else 0xD800))
        return character if draw.random() < 0.3 else draw.choice(PIECES)

    return ["".join(piece() for _ in range(draw.randrange(1, 16))) for _ in range(count)]


class Oracle:
    def __init__(self, file: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        # Transformers does not heed tokenizer.ggml.pre, here smollm: digits one by one, then GPT-2's pattern.
        self.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.end = self.tokenizer.eos_token_id

    def tokenize(self, text: str) -> dict[str, object]:
        return {"text": text, "ids": self.tokenizer.encode(text, add_special_tokens=False)}

    def answer(self, messages: list[dict[str, str]]) -> dict[str, object]:
        """Greedy tokens with the end token, if reached, as the last of them."""
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        greedy: list[int] = []
        gaps, inputs, cache = [], ids, {}
        while len(greedy) < MAX_NEW_TOKENS and (not greedy or greedy[-1] != self.end):
            output = self.model(input_ids=torch.tensor([inputs]), **cache, use_cache=True)
            best = torch.topk(output.logits[0, -1], 2)
            gaps.append((best.values[0] - best.values[1]).item())
            greedy.append(int(best.indices[0]))
            inputs, cache = greedy[-1:], {"past_key_values": output.past_key_values}
        return {
            "messages": messages,
            "prompt_ids": ids,
            "greedy_ids": greedy,
            "greedy_text": self.tokenizer.decode(greedy, skip_special_tokens=True),
            "finish_reason": "stop" if greedy[-1] == self.end else "length",
            "min_gap": round(min(gaps), 6),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--repo", type=Path, default=Path("."))
    args = parser.parse_args()
    goldens = args.repo / "tests" / "goldens"
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    oracle = Oracle(args.model)
    lines = [json.dumps(oracle.tokenize(text), ensure_ascii=False) + "\n" for text in random_texts(200)]
    (goldens / "smollm2_texts.jsonl").write_text("".join(lines))
    with torch.inference_mode():
        prompts = [oracle.answer(messages) for messages in CONVERSATIONS]
    for entry in prompts:
        print(entry["min_gap"], len(entry["prompt_ids"]), entry["finish_reason"], repr(entry["greedy_text"]))
    if min(entry["min_gap"] for entry in prompts) < MIN_GAP:
        raise SystemExit("a decision is too close to demand: ask something else")
    golden = {"model": args.model.stem, "max_new_tokens": MAX_NEW_TOKENS, "prompts": prompts}
    write_lines(goldens / "smollm2.json", golden)


if __name__ == "__main__":
    main()
