"""Scores an exported model on prompts that its training never saw.

    python evaluate.py --model models/tiny [--write README.md ...]

Every prompt is drawn from the held-out tenth of the keys (see
`tasks.is_held_out`) wherever its task has keys. `--write` puts the table
between the score markers of the given Markdown files.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus
import stories
import tasks
from choices import Choices
from tasks import Exchange

SEED = "eval"
BATCH = 50
MAX_NEW_TOKENS = 256
BEGIN, END = "<!-- scores -->", "<!-- /scores -->"


@dataclass(frozen=True)
class Score:
    """One row of the table: a fraction of prompts, or a measured value."""

    what: str
    value: str


@dataclass(frozen=True)
class Reply:
    """A generated text without specials, and whether the model ended it."""

    text: str
    stopped: bool


class Scorer:
    """Generates in batches and keeps count of the replies that end themselves."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.stopped = self.chats = 0
        self.default_temperature = json.loads((folder / "generation_config.json").read_text())["temperature"]

    def complete(self, prompts: list[str], temperature: float = 0.0) -> list[Reply]:
        """Continues rendered prompts; greedy at temperature zero."""
        replies = []
        torch.manual_seed(0)
        sampling = {"do_sample": temperature > 0, "temperature": temperature or None, "top_k": 0 if temperature else None}
        for start in range(0, len(prompts), BATCH):
            batch = self.tokenizer(
                prompts[start : start + BATCH], return_tensors="pt", padding=True, add_special_tokens=False
            )
            ends = self.model.generation_config.eos_token_id
            with torch.inference_mode():
                rows = self.model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **sampling)
            for row in rows[:, batch["input_ids"].shape[1] :].tolist():
                end = next((i for i, token in enumerate(row) if token in ends), None)
                text = self.tokenizer.decode(row[:end], skip_special_tokens=False)
                replies.append(Reply(text, end is not None))
        return replies

    def chat(self, conversations: list[list[str]], temperature: float = 0.0) -> list[Reply]:
        """The next assistant message after alternating messages."""
        prompts = []
        for messages in conversations:
            roles = [
                {"role": "assistant" if i % 2 else "user", "content": content} for i, content in enumerate(messages)
            ]
            prompts.append(self.tokenizer.apply_chat_template(roles, tokenize=False, add_generation_prompt=True))
        replies = self.complete(prompts, temperature)
        self.chats += len(replies)
        self.stopped += sum(reply.stopped and "<|" not in reply.text for reply in replies)
        return replies

    def nats(self, document: corpus.Document) -> tuple[float, int]:
        """The model's surprisal of a document and the number of its tokens.

        The bos token of a next document is predicted too: it stands for the
        generator's decision that the conversation has no further turn.
        """
        ids = self.tokenizer(document.text + corpus.BOS, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = self.model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum")
        return loss.item(), ids.shape[1] - 1


def held_out(task: Callable[[Choices], Exchange], name: str, count: int) -> list[Exchange]:
    """`count` different exchanges of a task whose keys training left out."""
    found: dict[str, Exchange] = {}
    index = 0
    while len(found) < count:
        choices = Choices(f"{SEED}/{name}/{index}")
        made = choices.until(lambda: task(choices), lambda made: corpus.something_held_out(made.keys))
        found.setdefault(json.dumps(made.messages[:-1]), made)
        index += 1
    return list(found.values())


def fraction(right: list[bool]) -> str:
    return f"{100 * sum(right) / len(right):.1f} % ({sum(right)} of {len(right)})"


def perplexity(scorer: Scorer, count: int, keep: corpus.Keep | None, what: str) -> list[Score]:
    """The model's perplexity against the generator's own on the same documents."""
    model = generator = 0.0
    tokens = characters = 0
    for index in range(count):
        document = corpus.document(f"{SEED}/documents/{index}", keep)
        nats, number = scorer.nats(document)
        model, generator = model + nats, generator + document.nats
        tokens, characters = tokens + number, characters + len(document.text)
    bits = 1 / (math.log(2) * characters)
    return [
        Score(
            f"perplexity per token, {what}: model / generator's entropy",
            f"{math.exp(model / tokens):.3f} / {math.exp(generator / tokens):.3f}",
        ),
        Score(f"bits per character, {what}: model / generator", f"{model * bits:.4f} / {generator * bits:.4f}"),
    ]


def heroes() -> list[tuple[str, str]]:
    """All held-out pairs of a hero's kind and name."""
    slots = [{"kind": kind, "name": name} for kind in stories.LEXICON["kind"] for name in stories.LEXICON["name"]]
    return [
        (s["kind"], s["name"])
        for s in slots
        if stories.is_consistent(s) and tasks.is_held_out(tasks.story_key(s))
    ]


def score_stories(scorer: Scorer) -> list[Score]:
    pairs = heroes() * 3
    requests = [tasks.ASK_FOR_STORY[3 * i // len(pairs)] for i in range(len(pairs))]
    asked = scorer.chat([[f"{ask} about a {kind} named {name}."] for ask, (kind, name) in zip(requests, pairs)])
    told = [stories.parse(reply.text) for reply in asked]
    fits = [t is not None and (t.slots["kind"], t.slots["name"]) == pair for t, pair in zip(told, pairs)]
    temperatures = sorted({scorer.default_temperature, 0.7})
    free = {t: [stories.parse(r.text) for r in scorer.chat([["Tell me a story."]] * 200, t)] for t in temperatures}
    start = corpus.BOS + "Once upon a time"
    raw = [stories.parse("Once upon a time" + r.text) for r in scorer.complete([start] * 200, temperature=1.0)]
    return [
        Score("stories of held-out heroes, greedy: accepted by the parser", fraction([t is not None for t in told])),
        Score("stories of held-out heroes, greedy: accepted, and about the hero asked for", fraction(fits)),
        *(
            Score(
                f"\"Tell me a story.\" at temperature {t}{', the default' if t == scorer.default_temperature else ''}: accepted",
                fraction([story is not None for story in told_at]),
            )
            for t, told_at in free.items()
        ),
        Score("completions of \"Once upon a time\" at temperature 1: accepted", fraction([t is not None for t in raw])),
    ]


def last_number(text: str) -> int | None:
    numbers = re.findall(r"\d+", text)
    return int(numbers[-1]) if numbers else None


def sums_right(scorer: Scorer, pairs: list[tuple[int, int]]) -> list[bool]:
    replies = scorer.chat([[f"What is {a} + {b}?"] for a, b in pairs])
    return [last_number(reply.text) == a + b for reply, (a, b) in zip(replies, pairs)]


def score_sums(scorer: Scorer) -> list[Score]:
    small = [(a, b) for a in range(10) for b in range(10)]
    small_right = sums_right(scorer, small)
    unseen = [right for right, (a, b) in zip(small_right, small) if tasks.is_held_out(tasks.sum_key(a, b))]
    large = [(a, b) for a in range(10, 100) for b in range(10, 100) if tasks.is_held_out(tasks.sum_key(a, b))]
    large = large[:: len(large) // 300][:300]
    bare = scorer.complete([f"{corpus.BOS}1 + 1 = 2\n{a} + {b} =" for a, b in large])
    bare_right = [r.text.split("\n")[0].strip() == str(a + b) for r, (a, b) in zip(bare, large)]
    paraphrased = held_out(tasks.two_digit_sum, "sums", 200)
    replies = scorer.chat([made.messages[:-1] for made in paraphrased])
    same = [reply.text == made.messages[-1] for reply, made in zip(replies, paraphrased)]
    return [
        Score("one-digit sums, all 100 pairs", fraction(small_right)),
        Score("one-digit sums, pairs never asked in training", fraction(unseen)),
        Score("two-digit sums, held-out pairs", fraction(sums_right(scorer, large))),
        Score("two-digit sums, held-out pairs, paraphrased: answer and steps exactly right", fraction(same)),
        Score("two-digit sums, held-out pairs, raw completion without steps", fraction(bare_right)),
    ]


def score_exact(scorer: Scorer, task: Callable[[Choices], Exchange], name: str, what: str) -> Score:
    cases = held_out(task, name, 200)
    replies = scorer.chat([made.messages[:-1] for made in cases])
    return Score(what, fraction([reply.text == made.messages[-1] for reply, made in zip(replies, cases)]))


def parsed_json(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def obeys(request: str, made: dict[str, object]) -> bool:
    """Whether a record has the fields and values that its request fixed."""
    kind = next((kind for kind in tasks.RECORDS if re.search(rf"\b{kind}\b", request, re.I)), "")
    if not kind or not set(made) <= set(tasks.RECORDS[kind]):
        return False
    if " with " not in request:
        return True
    wanted = re.sub(r"\.$", "", request.split(" with ", 1)[1])
    for field in re.split(r", | and ", wanted):
        name, _, value = field.partition(" ")
        if name not in made or (value and str(made[name]) != value):
            return False
    return True


def score_json(scorer: Scorer) -> list[Score]:
    cases = held_out(tasks.json_record, "json", 200)
    requests = [made.messages[0] for made in cases]
    replies = [parsed_json(reply.text) for reply in scorer.chat([[request] for request in requests])]
    return [
        Score("JSON requests: valid JSON object", fraction([made is not None for made in replies])),
        Score(
            "JSON requests: valid, of the kind asked for, with the fields and values asked for",
            fraction([made is not None and obeys(request, made) for request, made in zip(requests, replies)]),
        ),
    ]


def score_talk(scorer: Scorer) -> Score:
    """Greetings and the like, typed as listed: one of the listed answers."""
    cases = [(ask, answers) for asks, answers in tasks.TALK for ask in asks]
    replies = scorer.chat([[ask] for ask, _ in cases])
    return Score("greetings and small talk", fraction([r.text in answers for r, (_, answers) in zip(replies, cases)]))


def evaluate(folder: Path) -> list[Score]:
    scorer = Scorer(folder)
    parameters = sum(p.numel() for p in scorer.model.parameters())
    scores = [Score("parameters", f"{parameters:,}")]
    scores += perplexity(scorer, 500, None, "fresh documents")
    scores += perplexity(scorer, 200, corpus.something_held_out, "held-out keys only")
    scores += score_stories(scorer)
    scores += score_sums(scorer)
    scores.append(score_exact(scorer, tasks.story_questions, "questions", "questions about held-out stories"))
    scores.append(score_exact(scorer, tasks.sorting, "sorting", "held-out lists sorted"))
    scores += score_json(scorer)
    scores.append(score_talk(scorer))
    ended = f"{100 * scorer.stopped / scorer.chats:.1f} % ({scorer.stopped} of {scorer.chats})"
    scores.append(Score("all chat replies above: ended by the model with the end token", ended))
    return scores


def table(scores: list[Score]) -> str:
    rows = [f"| {score.what} | {score.value} |" for score in scores]
    return "\n".join(["| measured on held-out prompts | result |", "|---|---|", *rows])


def write_between_markers(path: Path, text: str) -> None:
    head, rest = path.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--write", type=Path, nargs="*", default=[], help="Markdown files to put the table into")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = table(evaluate(args.model))
    print(result)
    for path in args.write:
        write_between_markers(path, result)


if __name__ == "__main__":
    main()
