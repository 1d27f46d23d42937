#!/usr/bin/env python3
"""Varies checkpoint directories as savers do, and compares what Quire and Transformers make of each.

    python3 fuzz_directories.py --oracle venv5/bin/python --oracle venv4/bin/python [--only REGEX]

Prints a line for each base, then a table of disagreements, and ends with 1 if there is one. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bases
import compare
import exceptions
import variations
from checkpoint import Checkpoint
from oracle_process import Oracle
from quire_probe import Quire
from texts import CONVERSATIONS, TEXTS

REPO = Path(__file__).resolve().parents[2]


def probe_all(directory: Path, oracles: list[Oracle], quire: Quire, text: bool) -> tuple[dict[str, dict], dict]:
    """The oracles' results by version, and Quire's for the same questions; `text`: about the tokenizer, too."""
    results: dict[str, dict] = {}
    texts, conversations, decode_ids = (TEXTS, CONVERSATIONS, None) if text else ([], [], [[0]])
    for oracle in oracles:
        results[oracle.version] = oracle.probe(directory, texts, conversations, decode_ids)
        decode_ids = decode_ids or results[oracle.version]["tokenizer"].get("decode_ids")
    answers = {"tokenizer": quire.tokenizer(directory, texts, decode_ids or [[0]])}
    if "error" in answers["tokenizer"]:
        answers["model"] = {"error": answers["tokenizer"]["error"]}
        return results, answers
    models = [result["model"] for result in results.values() if "error" not in result["model"]]
    prompts = models[0]["prompts"] if models else [[0]]
    length = len(models[0]["greedy"][0]["ids"]) if models else 1
    candidates = compare.stop_candidates(results.values())
    sampling = {version: r["model"]["sampling"] for version, r in results.items() if "error" not in r["model"]}
    answers["model"] = quire.model(directory, conversations, prompts, candidates, length, sampling)
    return results, answers


def cases(args: argparse.Namespace, oracles: list[Oracle], work: Path) -> Iterator[tuple[str, str, Path]]:
    """The family of its base, its name, the directory: that lasts until the next is asked for."""
    for base in bases.make_bases(args, oracles, work):
        for name, variation in variations.of_kinds(base.kinds):
            case = f"{base.name}: {name}"
            if not args.only.search(case):
                continue
            path = work / "case" / base.path.name
            shutil.rmtree(path.parent, ignore_errors=True)
            variation(Checkpoint.copy(base.path, path))
            yield base.family, case, path


@dataclass
class Tally:
    """What was found in so many directories."""

    num_directories: int = 0
    disagreements: list[tuple[str, compare.Difference]] = field(default_factory=list)
    num_notes: int = 0
    exceptions: Counter[str] = field(default_factory=Counter)

    def add(self, case: str, difference: compare.Difference) -> None:
        if difference.exception:
            self.exceptions[difference.exception] += 1
        elif difference.serious:
            self.disagreements.append((case, difference))
        else:
            self.num_notes += 1

    def __str__(self) -> str:
        outcome = f"{len(self.disagreements)} disagreements" if self.disagreements else "all equal"
        named = ", ".join(f"{name} {count}" for name, count in self.exceptions.items())
        stay = f", {self.exceptions.total()} exceptions ({named})" if named else ""
        return f"{self.num_directories} directories, {outcome}, {self.num_notes} notes{stay}"


class Report:
    """Prints every difference as it is found, a line for each base when it is done, and a table in the end."""

    def __init__(self, log: Path | None) -> None:
        self._log = log.open("w") if log else None
        self._tallies: dict[str, Tally] = {}

    def add(self, family: str, case: str, differences: list[compare.Difference]) -> None:
        if family not in self._tallies:
            self._print_last()
        tally = self._tallies.setdefault(family, Tally())
        tally.num_directories += 1
        for difference in differences:
            stays = exceptions.find(case, difference.check) if difference.serious else None
            difference.exception = stays.name if stays else ""
            tally.add(case, difference)
            print(f"{case}\n    {difference}", flush=True)
            if self._log:
                print(json.dumps({"case": case} | vars(difference), ensure_ascii=False), file=self._log, flush=True)

    def _print_last(self) -> None:
        for family in list(self._tallies)[-1:]:
            print(f"{family}: {self._tallies[family]}", flush=True)

    def close(self) -> bool:
        """Whether all is equal."""
        self._print_last()
        found = [entry for tally in self._tallies.values() for entry in tally.disagreements]
        width = max((len(case) for case, _ in found), default=0)
        for case, difference in found:
            print(f"{case:{width}}  {difference.check}")
        return bool(self._tallies) and not found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", action="append", default=[], help="a Python that has Transformers; the first leads")
    parser.add_argument("--quire", type=Path, default=Path(os.environ.get("QUIRE", REPO / "build/release/quire")))
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data", help="tokenizers to take along")
    parser.add_argument("--model", type=Path, action="append", default=[], help="another directory to vary")
    parser.add_argument("--base", type=re.compile, default=re.compile(""), help="only bases that this matches")
    parser.add_argument("--only", type=re.compile, default=re.compile(""), help="only cases that this matches")
    parser.add_argument("--json", type=Path, help="write every disagreement here, a line each")
    args = parser.parse_args()
    args.oracle = args.oracle or [sys.executable]
    return args


def main() -> int:
    args = parse_arguments()
    oracles = [Oracle(python) for python in args.oracle]
    quire, report = Quire(args.quire), Report(args.json)
    print("against Transformers", ", ".join(oracle.version for oracle in oracles), flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-directories-") as folder:
        for family, case, path in cases(args, oracles, Path(folder)):
            about_text = not re.search(": (weights|config|generation)/", case)
            results, answers = probe_all(path, oracles, quire, about_text)
            report.add(family, case, compare.compare(results, answers, nonsense=variations.NONSENSE in case))
    return 0 if report.close() else 1


if __name__ == "__main__":
    sys.exit(main())
