"""Makes the golden beam searches: what generate(num_beams=...) finds with the committed models.

    python make_beams.py --repo .

Reads models/tiny and two of tests/goldens/models, writes
tests/goldens/beams.json: float32, eager attention, CPU. Every combination of
width, length penalty and early stopping occurs with tokens that end beams, and
without. A search is kept only if no decision in it is close, so that a correct
implementation with another order of summation decides the same: the margins of
every step are measured inside Transformers' own search. Where one is closer
than MIN_SUM_GAP or MIN_SCORE_GAP, the search is dropped and the combination is
tried with the next prompt.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

SEED = 11
WIDTHS = (2, 4, 6)
LENGTH_PENALTIES = (0.0, 0.5, 1.0, 2.0)
EARLY_STOPPING = (False, True, "never")
MAX_NEW_TOKENS = (10, 16, 24)
MAX_PROMPT = 40
FAMILIES = ("llama2", "qwen3")
FAMILY_CASES = 24
NO_CANDIDATE = -1e8  # what is lower fills a table of Transformers' up
MIN_SUM_GAP = 3e-5
MIN_SCORE_GAP = 1e-5


@dataclass(frozen=True)
class Prompt:
    """Where a search starts, and the tokens that end its beams."""

    ids: list[int]
    ends: list[int]


@dataclass(frozen=True)
class Setting:
    """What a search is asked for. `ignore_eos`: no token ends a beam."""

    num_beams: int
    length_penalty: float
    early_stopping: bool | str
    ignore_eos: bool


@dataclass
class Margins:
    """The closest decisions of one search, measured where it takes them.

    `sums` are of running beams, `scores` of hypotheses (with length penalty).
    """

    sums: float = float("inf")
    scores: float = float("inf")
    steps: int = 0
    originals: dict[str, object] = field(default_factory=dict)

    HOOKS = ("_get_top_k_continuations", "_update_finished_beams", "_check_early_stop_heuristic")

    def watch(self, model: torch.nn.Module) -> None:
        for name in self.HOOKS:
            self.originals[name] = getattr(model, name)
            setattr(model, name, getattr(self, name))

    def unwatch(self, model: torch.nn.Module) -> None:
        for name in self.HOOKS:
            delattr(model, name)

    @staticmethod
    def closest(values: torch.Tensor) -> float:
        """The smallest difference between two of the values that stand for something."""
        real = values[values > NO_CANDIDATE].sort().values
        return (real[1:] - real[:-1]).min().item() if len(real) > 1 else float("inf")

    def _get_top_k_continuations(self, **kwargs: object) -> tuple[torch.Tensor, ...]:
        """Who is among the best, and who is the first that is not."""
        best = torch.topk(kwargs["accumulated_log_probs"][0], k=kwargs["beams_to_keep"] + 1).values
        self.sums = min(self.sums, self.closest(best))
        self.steps += 1
        return self.originals["_get_top_k_continuations"](**kwargs)

    def _update_finished_beams(self, **kwargs: object) -> tuple[torch.Tensor, ...]:
        """Which hypotheses are kept, and in which order."""
        length = kwargs["cur_len"] + 1 - kwargs["decoder_prompt_len"]
        ended = kwargs["next_token_hits_stopping_criteria"][0] & kwargs["top_num_beam_mask"]
        scores = kwargs["topk_log_probs"][0][ended] / length ** kwargs["length_penalty"]
        self.scores = min(self.scores, self.closest(torch.cat((kwargs["beam_scores"][0], scores))))
        return self.originals["_update_finished_beams"](**kwargs)

    def _check_early_stop_heuristic(self, **kwargs: object) -> torch.Tensor:
        """Whether the best running beam may still beat the worst hypothesis."""
        hopes = kwargs["early_stopping"] == "never" and kwargs["length_penalty"] > 0
        length = kwargs["max_length" if hopes else "cur_len"] - kwargs["decoder_prompt_len"]
        running = kwargs["running_beam_scores"][0, :1] / length ** kwargs["length_penalty"]
        if kwargs["is_sent_finished"].all():
            self.scores = min(self.scores, self.closest(torch.cat((running, kwargs["beam_scores"].min()[None]))))
        return self.originals["_check_early_stop_heuristic"](**kwargs)


class Oracle:
    """Beam searches of one model folder; `prompts` in the order in which they are tried."""

    def __init__(self, repo: Path, folder: str, prompts: list[Prompt]) -> None:
        self.folder = folder
        self.prompts = itertools.cycle(prompts)
        self.model = AutoModelForCausalLM.from_pretrained(
            repo / folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.model.generation_config = GenerationConfig()  # or its eos_token_id would stand in for None

    def search(self, prompt: Prompt, setting: Setting, max_new_tokens: int) -> tuple[dict[str, object], Margins]:
        margins = Margins()
        margins.watch(self.model)
        found = self.model.generate(
            torch.tensor([prompt.ids]),
            attention_mask=torch.ones(1, len(prompt.ids), dtype=torch.int64),
            do_sample=False,
            num_beams=setting.num_beams,
            num_return_sequences=setting.num_beams,
            length_penalty=setting.length_penalty,
            early_stopping=setting.early_stopping,
            max_new_tokens=max_new_tokens,
            eos_token_id=None if setting.ignore_eos else prompt.ends,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        margins.unwatch(self.model)
        ends = [] if setting.ignore_eos else prompt.ends
        outputs = [cut(sequence[len(prompt.ids) :], ends) for sequence in found.sequences.tolist()]
        scores = [float(f"{score:.8g}") for score in found.sequences_scores.tolist()]
        case = {
            "model": self.folder,
            "prompt_ids": prompt.ids,
            "eos_token_ids": prompt.ends,
            "ignore_eos": setting.ignore_eos,
            "num_beams": setting.num_beams,
            "length_penalty": setting.length_penalty,
            "early_stopping": setting.early_stopping,
            "max_new_tokens": max_new_tokens,
            "num_steps": margins.steps,
            "sequences": outputs,
            "sequences_scores": scores,
        }
        return case, margins

    def clear_search(self, setting: Setting, rng: random.Random) -> tuple[dict[str, object], int]:
        """The setting's search with the next prompt that makes no close decision, and how many were dropped."""
        for dropped in range(20):
            case, margins = self.search(next(self.prompts), setting, rng.choice(MAX_NEW_TOKENS))
            if margins.sums >= MIN_SUM_GAP and margins.scores >= MIN_SCORE_GAP:
                return case, dropped
        raise RuntimeError(f"{self.folder}: every prompt makes a close decision with {setting}")


def cut(output: list[int], ends: list[int]) -> list[int]:
    """Without the padding behind the token that ended it."""
    for i, token in enumerate(output):
        if token in ends:
            return output[: i + 1]
    return output


def tiny_prompts(repo: Path) -> list[Prompt]:
    """The prompts of tiny.json that are not long. Stories go on for ever: theirs end with a sentence too."""
    golden = json.loads((repo / "tests" / "goldens" / "tiny.json").read_text())
    stop = AutoTokenizer.from_pretrained(repo / "models" / "tiny").encode(".", add_special_tokens=False)
    return [
        Prompt(entry["prompt_ids"], golden["eos_token_ids"] + (stop if entry["finish_reason"] == "length" else []))
        for entry in golden["prompts"]
        if len(entry["prompt_ids"]) <= MAX_PROMPT
    ]


def family_prompts(repo: Path, name: str, rng: random.Random) -> list[Prompt]:
    """Random weights seldom say their end token: tokens that they do say early end a beam."""
    golden = json.loads((repo / "tests" / "goldens" / "models" / name / "golden.json").read_text())
    prompts = []
    for entry in golden["prompts"]:
        for _ in range(2 if len(entry["prompt_ids"]) <= MAX_PROMPT else 0):
            prompts.append(Prompt(entry["prompt_ids"], rng.sample(sorted(set(entry["greedy_ids"][2:12])), 2)))
    return prompts


def settings() -> list[Setting]:
    """All combinations where tokens end beams; where none does, early stopping changes nothing and just varies."""
    combinations = itertools.product(WIDTHS, LENGTH_PENALTIES, EARLY_STOPPING)
    ending = [Setting(*combination, False) for combination in combinations]
    modes = itertools.cycle(EARLY_STOPPING)
    endless = [Setting(*pair, next(modes), True) for pair in itertools.product(WIDTHS, LENGTH_PENALTIES)]
    return ending + endless


def report(cases: list[dict[str, object]], dropped: int) -> None:
    early = sum(case["num_steps"] < case["max_new_tokens"] for case in cases)
    mixed = sum(len({len(output) for output in case["sequences"]}) > 1 for case in cases)
    print(f"{len(cases)} searches, {dropped} dropped as too close")
    print(f"{early} stop before the longest length, {mixed} have hypotheses of several lengths")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path("."))
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    rng = random.Random(SEED)
    tiny = Oracle(args.repo, "models/tiny", tiny_prompts(args.repo))
    families = [
        Oracle(args.repo, f"tests/goldens/models/{name}", family_prompts(args.repo, name, rng)) for name in FAMILIES
    ]
    searches = [(tiny, setting) for setting in settings()]
    searches += zip(itertools.cycle(families), rng.sample(settings(), FAMILY_CASES))

    found = [oracle.clear_search(setting, rng) for oracle, setting in searches]
    cases = [case for case, _ in found]
    report(cases, sum(dropped for _, dropped in found))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (args.repo / "tests" / "goldens" / "beams.json").write_text(f'{{"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
