"""Whether two answers agree, and how to say that they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from texts import TEXTS

CLOSE_DECISION = 1e-3  # of two logits: float32 sums in another order may decide otherwise
SHOWN = 160


@dataclass
class Difference:
    check: str
    quire: str
    transformers: dict[str, str]  # by version
    serious: bool = True
    exception: str = ""  # its name, if this difference stays

    def __str__(self) -> str:
        kind = f"exception ({self.exception}): " if self.exception else "" if self.serious else "note: "
        lines = [f"{kind}{self.check}", f"Quire: {self.quire}"]
        lines += [f"Transformers {version}: {said}" for version, said in self.transformers.items()]
        return "\n        ".join(lines)


def shorten(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def stops_of(result: dict) -> set[int]:
    """What ends an answer: generation_config's tokens, or else config's, and the tokenizer's eos, as in vLLM."""
    return {*result["model"]["generation_eos"], *result["tokenizer"].get("tokenizer_eos", [])}


def stop_candidates(results: Iterable[dict]) -> list[int]:
    found: set[int] = set()
    for result in results:
        if "error" not in result["model"]:
            named = {*result["model"]["named_ids"], *stops_of(result)}
            found |= {token for token in named if 0 <= token < result["model"]["vocab_size"]}
    return sorted(found)


def errors(part: str, results: dict[str, dict], answers: dict, nonsense: bool) -> Difference | None:
    """One loads what the other refuses: serious when it is Quire that refuses what makes sense."""
    said = {version: result[part].get("error", "loads") for version, result in results.items()}
    quire = answers[part].get("error", "loads")
    if quire == "loads":
        refused = all(text != "loads" for text in said.values())
        return Difference(f"{part} is accepted", quire, said, serious=False) if refused else None
    if quire.startswith("CRASH") or any(text == "loads" for text in said.values()):
        return Difference(f"{part} is refused", quire, said, serious=quire.startswith("CRASH") or not nonsense)
    return None


def first_true(flags: Iterable[bool]) -> int | None:
    return next((i for i, flag in enumerate(flags) if flag), None)


def around(row: object, other: object) -> str:
    """What is about the first difference, where a whole row is too long to show."""
    if not isinstance(row, list) or not isinstance(other, list) or len(repr(row)) <= SHOWN:
        return shorten(row)
    at = next((i for i, (a, b) in enumerate(zip(row, other, strict=False)) if a != b), min(len(row), len(other)))
    return f"... from {at} of {len(row)}: {shorten(row[at : at + 16])}"


def compare_lists(check: str, mine: list, theirs: dict[str, list], labels: list) -> Difference | None:
    """Serious where a row of Quire's is no version's; a note where the versions differ."""
    unequal = [[a != b for a, b in zip(mine, rows, strict=True)] for rows in theirs.values()]
    by_all = first_true(all(row) for row in zip(*unequal, strict=True))
    by_any = first_true(any(row) for row in zip(*unequal, strict=True))
    if by_any is None:
        return None
    serious = by_all is not None
    at = by_all if serious else by_any
    said = {v: "the same" if rows[at] == mine[at] else around(rows[at], mine[at]) for v, rows in theirs.items()}
    other = next(rows[at] for rows in theirs.values() if rows[at] != mine[at])
    return Difference(f"{check} of {shorten(labels[at])}", around(mine[at], other), said, serious)


def compare_tokenizers(results: dict[str, dict], mine: dict) -> Iterator[Difference | None]:
    theirs = {version: result["tokenizer"] for version, result in results.items() if "error" not in result["tokenizer"]}
    if not theirs or "error" in mine:
        return
    decode_ids = next(iter(theirs.values()))["decode_ids"]
    for checks, labels in ((("ids", "ids_special"), TEXTS), (("decoded", "decoded_skip"), decode_ids)):
        for check in checks:
            rows = {version: part[check] for version, part in theirs.items()}
            found = compare_lists(check, mine[check], rows, labels)
            yield found
            if found is not None:  # the other of the pair would say the same again
                break


def without_reason(rows: list) -> list:
    """Who refuses to render need not do so in the same words."""
    return ["refused" if isinstance(row, str) else row for row in rows]


def compare_chat(results: dict[str, dict], mine: dict) -> Difference | None:
    theirs = {v: result["tokenizer"]["chat"] for v, result in results.items() if "error" not in result["tokenizer"]}
    if not theirs:
        return None
    plain = {version: without_reason(rows) for version, rows in theirs.items()}
    return compare_lists("chat", without_reason(mine["chat"]), plain, list(range(len(mine["chat"]))))


def compare_sampling(theirs: dict[str, dict], mine: dict) -> Difference | None:
    """Seeded samples of a request that says nothing, and of one that says what Transformers' files do."""
    rows = {version: [row] for version, row in mine["sampled_with"].items() if isinstance(row, list)}
    said = {version: part["sampling"] for version, part in theirs.items()}
    return compare_lists("sampling", [mine["sampled"]], rows, [said])


def compare_models(results: dict[str, dict], mine: dict) -> Iterator[Difference | None]:
    if "error" in mine:
        return
    yield compare_chat(results, mine)
    theirs = {v: result["model"] for v, result in results.items() if "error" not in result["model"]}
    if not theirs:
        return
    decided = [i for i, row in enumerate(next(iter(theirs.values()))["greedy"]) if row["gap"] > CLOSE_DECISION]
    rows = {version: [part["greedy"][i]["ids"] for i in decided] for version, part in theirs.items()}
    yield compare_lists("greedy", [mine["greedy"][i] for i in decided], rows, decided)
    yield compare_sampling(theirs, mine)
    stops = {version: [sorted(t for t in stops_of(results[version]) if 0 <= t < part["vocab_size"])]
             for version, part in theirs.items()}  # fmt: skip
    yield compare_lists("stop tokens", [mine["stops"]], stops, ["an answer"])


def compare(results: dict[str, dict], answers: dict, nonsense: bool) -> list[Difference]:
    """`nonsense`: Quire may refuse what Transformers loads without a look."""
    found = [errors(part, results, answers, nonsense) for part in ("tokenizer", "model")]
    if "error" in answers["tokenizer"]:
        found.pop()  # the model was not tried
    found += compare_tokenizers(results, answers["tokenizer"])
    found += compare_models(results, answers["model"])
    return [difference for difference in found if difference is not None]
