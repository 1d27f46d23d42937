#!/usr/bin/env python3
"""What ptxas says of the kernels, kept at compile time and held against bounds in a test.

    ptxas_report.py log FILE COMMAND...    runs a compile command, keeps what ptxas said in FILE, passes the rest on
    ptxas_report.py check FOLDER [--registers STEM=N ...]

`check` reads every log below FOLDER. It fails on spills, on a stack frame (a local array that did not stay in
registers), on a warning of ptxas (such as products that were serialised), on a kernel with more registers a thread than
its source file's bound, and where there is no log, or none of a file that has a bound.
"""

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".ptxas"
# Lines of `ptxas -v`, and the one about properties of a function, which has no prefix of its own.
OF_PTXAS = re.compile(r"^ptxas (info|warning)\b|^\s+\d+ bytes stack frame")
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
WARNING = re.compile(r"^ptxas warning|Potential Performance Loss")


@dataclass
class Kernel:
    name: str
    target: str
    registers: int = 0
    frame: int = 0
    spills: int = 0


def log(path: Path, command: list[str]) -> int:
    compiler = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    lines = compiler.stderr.splitlines(keepends=True)
    path.write_text("".join(line for line in lines if OF_PTXAS.search(line)), encoding="utf-8")
    sys.stderr.write("".join(line for line in lines if not OF_PTXAS.search(line) or WARNING.search(line)))
    return compiler.returncode


def parse(text: str) -> tuple[list[Kernel], list[str]]:
    kernels, warnings = [], []
    for line in text.splitlines():
        if WARNING.search(line):
            warnings.append(line)
        if match := ENTRY.search(line):
            kernels.append(Kernel(*match.groups()))
        elif kernels and (match := FRAME.search(line)):
            frame, stores, loads = (int(number) for number in match.groups())
            kernels[-1].frame += frame
            kernels[-1].spills += stores + loads
        elif kernels and (match := REGISTERS.search(line)):
            kernels[-1].registers = int(match.group(1))
    return kernels, warnings


def problems_of(stem: str, kernels: list[Kernel], bound: int) -> list[str]:
    problems = []
    for kernel in kernels:
        where = f"{stem}: {kernel.name} ({kernel.target})"
        if kernel.spills:
            problems.append(f"{where} spills {kernel.spills} bytes")
        elif kernel.frame:
            problems.append(f"{where} has a stack frame of {kernel.frame} bytes")
        if kernel.registers > bound:
            problems.append(f"{where} uses {kernel.registers} registers, more than {bound}")
    return problems


def check(folder: Path, bounds: dict[str, int]) -> int:
    problems, seen = [], set()
    for path in sorted(folder.rglob("*" + SUFFIX)):
        stem = path.name.split(".")[0]
        seen.add(stem)
        kernels, warnings = parse(path.read_text(encoding="utf-8"))
        problems += [f"{stem}: {warning}" for warning in warnings]
        problems += problems_of(stem, kernels, bounds.get(stem, 255))
        most = max((kernel.registers for kernel in kernels), default=0)
        print(f"{stem}: {len(kernels)} kernels, at most {most} registers a thread")
    if not seen:
        problems.append(f"no log of ptxas below {folder}: build the target cuda_probe first")
    problems += [f"{stem}: no log of ptxas, though it has a bound" for stem in sorted(set(bounds) - seen)]
    print("\n".join(problems) or "cuda resources: no spill, no stack frame, registers within their bounds")
    return 1 if problems else 0


def bound(text: str) -> tuple[str, int]:
    stem, _, number = text.partition("=")
    return stem, int(number)


def main() -> int:
    if len(sys.argv) > 3 and sys.argv[1] == "log":
        return log(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--registers", type=bound, nargs="*", default=[], metavar="STEM=N")
    arguments = parser.parse_args()
    return check(arguments.folder, dict(arguments.registers))


if __name__ == "__main__":
    sys.exit(main())
