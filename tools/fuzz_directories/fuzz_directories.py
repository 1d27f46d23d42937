#!/usr/bin/env python3
"""Varies checkpoint directories as savers do, and compares what Quire and Transformers make of each.

    python3 fuzz_directories.py --oracle venv5/bin/python --oracle venv4/bin/python [--only REGEX]

Prints a table of disagreements, and ends with 1 if there is one. See README.md.
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
from collections.abc import Iterator
from pathlib import Path

import bases
import compare
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
    answers["model"] = quire.model(directory, conversations, prompts, candidates, length)
    return results, answers


def cases(args: argparse.Namespace, oracles: list[Oracle], work: Path) -> Iterator[tuple[str, Path]]:
    """Each directory lasts until the next is asked for."""
    for base in bases.make_bases(args, oracles, work):
        for name, variation in variations.of_kinds(base.kinds):
            case = f"{base.name}: {name}"
            if not args.only.search(case):
                continue
            path = work / "case" / base.path.name
            shutil.rmtree(path.parent, ignore_errors=True)
            variation(Checkpoint.copy(base.path, path))
            yield case, path


def print_table(found: list[tuple[str, compare.Difference]]) -> None:
    width = max((len(case) for case, _ in found), default=0)
    for case, difference in found:
        print(f"{case:{width}}  {difference.check}")


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
    quire, found, count = Quire(args.quire), [], 0
    log = args.json.open("w") if args.json else None
    with tempfile.TemporaryDirectory(prefix="fuzz-directories-") as folder:
        for case, path in cases(args, oracles, Path(folder)):
            about_text = not re.search(": (weights|config|generation)/", case)
            results, answers = probe_all(path, oracles, quire, about_text)
            count += 1
            for difference in compare.compare(results, answers, nonsense=variations.NONSENSE in case):
                found.append((case, difference))
                print(f"{case}\n    {difference}", flush=True)
                if log:
                    print(json.dumps({"case": case} | vars(difference), ensure_ascii=False), file=log, flush=True)
    serious = [entry for entry in found if entry[1].serious]
    print_table(serious)
    versions = ", ".join(oracle.version for oracle in oracles)
    print(f"{count} directories against Transformers {versions}: {len(serious)} disagreements, "
          f"{len(found) - len(serious)} notes")  # fmt: skip
    return 1 if serious or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
