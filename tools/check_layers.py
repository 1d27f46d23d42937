#!/usr/bin/env python3
"""Holds the includes of src/ against the layers of the design: no upward include, no cycle between folders."""

import re
import sys
from pathlib import Path

# Who may include whom, directly; each folder may also include whatever those may.
ALLOWED = {
    "base": [],
    "hub": ["base"],
    "tensor": ["base"],
    "sampling": ["base"],
    "weights": ["tensor"],
    "backend": ["tensor", "sampling"],
    "kv": ["base"],
    "text": ["base"],
    "sched": ["kv"],
    "model": ["backend", "weights"],
    "runner": ["sched", "model"],
    "engine": ["sched", "text"],
    "sim": ["engine"],
    "llm": ["runner", "engine", "hub"],
    "server": ["runner", "engine"],
    "cli": ["server", "llm", "sim", "hub"],
}
# Rooms within a folder that know less than the folder does: what each may include.
ROOMS = {"server/http": ["server/http", "base"]}
# Tests and helpers of tests may reach for what they are tested with.
TEST_FILE = re.compile(r"(_test|_testing|_benchmark)\.(cc|h)$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def reachable(folder: str) -> set[str]:
    found, todo = set(), [folder]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo.extend(ALLOWED[current])
    return found


def violations(source: Path) -> list[str]:
    problems = []
    for path in sorted(source.rglob("*")):
        if path.suffix not in {".h", ".cc", ".inl", ".cu", ".cuh"} or TEST_FILE.search(path.name):
            continue
        folder = path.relative_to(source).parts[0]
        if folder not in ALLOWED:
            problems.append(f"{path}: folder {folder} has no place in the layers (tools/check_layers.py)")
            continue
        may_include = reachable(folder)
        for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
            target = include.split("/")[0]
            if target == "quire":
                continue
            room = next((room for room in ROOMS if room in path.as_posix()), None)
            if room and not include.startswith(tuple(f"{known}/" for known in ROOMS[room])):
                problems.append(f"{path}: {room} may not include {include}")
                continue
            if target not in ALLOWED:
                problems.append(f'{path}: "{include}" is not relative to src/')
            elif target not in may_include:
                problems.append(f"{path}: {folder} may not include {target} ({include})")
    return problems


def main() -> int:
    problems = violations(Path(__file__).resolve().parent.parent / "src")
    print("\n".join(problems) or "layers: every include is allowed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
