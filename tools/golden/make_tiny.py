"""Makes the golden outputs of the embedded models and of their tokenizer.

    python make_tiny.py --repo .

Reads models/tiny and models/tiny-draft, writes tests/goldens/tiny.json,
tiny-draft.json and tiny_tokenizer.jsonl. The greedy tokens are what
Transformers computes in float32 from the bf16 weights.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

SEED = 7
MAX_NEW_TOKENS = 64
LOGPROB_PROMPTS = 4
NAMES = ["Lily", "Tom", "Mia", "Max", "Nora", "Leo"]
ANIMALS = ["fox", "rabbit", "bear", "owl", "turtle", "dragon"]

TOKENIZER_TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \n \n ", "a", " a", "a ", "  a  ",
    "Hello", "Hello, world!", "hello   world", "Hello\nworld", "Hello \n world", "Hello\r\n\r\nworld\t!",
    "Once upon a time, there was a little fox named Lily who lived in the forest.",
    "0", "42", "1234567890", "7 + 8 = 15.", "12+34=46", "3.14159", "1,000,000", "-5", "x1y2z3", "\u0663\u0664\u0665", "½ Ⅷ ²",
    "I'm you're we've he'll she'd it's don't", "I'M YOU'RE IT'S", "rock'n'roll", "'tis", "''quoted''",
    '{"name": "Lily", "age": 7, "city": "Oslo"}', '{\n  "name": "Tom",\n  "tags": ["red", "blue"]\n}',
    "email@example.com", "https://example.com/a?b=c&d=e#f", "snake_case camelCase kebab-case", "a/b\\c|d",
    "éàüñç", "e\u0301 n\u0303", "Straße", "naïve café", "Привет, мир!", "你好,世界", "こんにちは世界", "안녕하세요",
    "שלום", "مرحبا", "नमस्ते", "ไทย", "😀", "😀😃 😄", "👩‍👩‍👧‍👦 family", "🇳🇴🇫🇷", "👍🏽", "❤️", "a😀b", "\u200b\u00a0\u3000x",
    "\u2028line\u2029", "\ufeffbom", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ﬁ ligature", "I\u0307stanbul ſharp", "!!! ??? ...", "(a) [b] {c} <d>", "$5 €6 £7", "~`@#%^&*",
    "if (x == 1) {\n\treturn y;\n}\n", "    indented\n        more\n", "trailing   ", "a\n\n\nb", "tab\t\ttab", "\x00\x01\x7f",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "<|bos|>Hello<|endoftext|>",
    "a<|im_end|>b", "<|im_start|>", "<|unknown|>", "<|im_end", " <|im_end|> ", "word " * 20,
]  # fmt: skip


def raw_prompts(rng: random.Random) -> list[str]:
    name, kind = rng.choice(NAMES), rng.choice(ANIMALS)
    return [
        "Once upon a time",
        "Once upon a time, there was a",
        f"Long ago, a little {kind} called {name}",
        f"{name} was a brave {kind} who lived",
        f"{rng.randint(0, 9)} + {rng.randint(0, 9)} =",
        f"1 + 1 = 2\n{rng.randint(10, 99)} + {rng.randint(10, 99)} =",
        '{"name": "' + rng.choice(NAMES) + '",',
        "The",
    ]


def conversations(rng: random.Random) -> list[list[dict[str, str]]]:
    def user(content: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": content}]

    a, b = rng.randint(0, 9), rng.randint(0, 9)
    sum_turn = [*user(f"What is {a} + {b}?"), {"role": "assistant", "content": f"{a} + {b} = {a + b}."}]
    system = [{"role": "system", "content": "You are a helpful assistant."}]
    return [
        user("Hello"),
        user("Who are you?"),
        user(f"Tell me a story about a {rng.choice(ANIMALS)}"),
        user(f"Write a short story about a {rng.choice(ANIMALS)} named {rng.choice(NAMES)}."),
        user(f"What is {rng.randint(0, 9)} + {rng.randint(0, 9)}?"),
        user(f"What is {rng.randint(10, 99)} + {rng.randint(10, 99)}?"),
        user("Sort " + " ".join(str(rng.randint(0, 9)) for _ in range(5))),
        user("Give me a JSON record of a person"),
        user(f"Make a JSON record of a person with name {rng.choice(NAMES)} and age {rng.randint(1, 99)}."),
        system + user("What can you do?"),
        sum_turn + user("Thank you!"),
        system + sum_turn + user("Tell me a story."),
    ]


class Oracle:
    """Greedy continuations and log-probabilities of one model folder."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.ends = self.model.generation_config.eos_token_id

    def continuation(self, ids: list[int]) -> dict[str, object]:
        """Greedy tokens with the end token, if reached, as the last of them."""
        greedy: list[int] = []
        gaps = []
        while len(greedy) < MAX_NEW_TOKENS and (not greedy or greedy[-1] not in self.ends):
            logits = self.model(input_ids=torch.tensor([ids + greedy]), use_cache=False).logits[0, -1]
            best = torch.topk(logits, 2)
            gaps.append((best.values[0] - best.values[1]).item())
            greedy.append(int(best.indices[0]))
        return {
            "prompt_ids": ids,
            "greedy_ids": greedy,
            "greedy_text": self.tokenizer.decode(greedy, skip_special_tokens=True),
            "finish_reason": "stop" if greedy[-1] in self.ends else "length",
            "min_gap": round(min(gaps), 6),
        }

    def prompt_logprobs(self, ids: list[int]) -> list[float]:
        """The log-probability of each prompt token after the first."""
        logprobs = torch.log_softmax(self.model(input_ids=torch.tensor([ids])).logits[0], dim=-1)
        return [round(logprobs[i, ids[i + 1]].item(), 6) for i in range(len(ids) - 1)]

    def first_top_logprobs(self, ids: list[int]) -> list[list[float]]:
        """The five likeliest first new tokens as [id, log-probability]."""
        logprobs = torch.log_softmax(self.model(input_ids=torch.tensor([ids])).logits[0, -1], dim=-1)
        best = torch.topk(logprobs, 5)
        return [[int(i), round(v, 6)] for v, i in zip(best.values.tolist(), best.indices.tolist())]


@torch.inference_mode()
def model_golden(folder: Path) -> dict[str, object]:
    oracle, rng = Oracle(folder), random.Random(SEED)
    prompts = []
    for text in raw_prompts(rng):
        prompts.append({"kind": "raw", "text": text, **oracle.continuation(oracle.tokenizer.encode(text))})
    for messages in conversations(rng):
        text = oracle.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = oracle.tokenizer.encode(text, add_special_tokens=False)
        prompts.append({"kind": "chat", "messages": messages, "text": text, **oracle.continuation(ids)})
    for entry in prompts[:: len(prompts) // LOGPROB_PROMPTS]:
        entry["prompt_logprobs"] = oracle.prompt_logprobs(entry["prompt_ids"])
        entry["first_top_logprobs"] = oracle.first_top_logprobs(entry["prompt_ids"])
    return {"model": folder.name, "max_new_tokens": MAX_NEW_TOKENS, "eos_token_ids": oracle.ends, "prompts": prompts}


def tokenizer_golden(folder: Path) -> list[dict[str, object]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in TOKENIZER_TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        rows.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special": tokenizer.encode(text),
                "decoded": tokenizer.decode(ids),
                "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    return rows


def write_lines(path: Path, golden: dict[str, object]) -> None:
    """JSON with one prompt to a line, so that a change reads well in a diff."""
    head = {key: value for key, value in golden.items() if key != "prompts"}
    prompts = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in golden["prompts"])
    path.write_text(f'{json.dumps(head)[:-1]}, "prompts": [\n{prompts}\n]}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path("."))
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    goldens = args.repo / "tests" / "goldens"
    goldens.mkdir(parents=True, exist_ok=True)
    for name in ("tiny", "tiny-draft"):
        folder = args.repo / "models" / name
        if (folder / "config.json").exists():
            write_lines(goldens / f"{name}.json", model_golden(folder))
    rows = tokenizer_golden(args.repo / "models" / "tiny")
    (goldens / "tiny_tokenizer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
