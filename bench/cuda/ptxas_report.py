#!/usr/bin/env python3
"""What ptxas says of the kernels, kept at compile time and held against bounds in a test.

    ptxas_report.py log FILE COMMAND...    runs a compile command, keeps what ptxas said in FILE, passes the rest on
    ptxas_report.py check FOLDER --registers STEM[/PATTERN]=N ...

`check` reads every log below FOLDER. It fails on spills, on a stack frame (a local array that did not stay in
registers), on a warning of ptxas (such as products that were serialised), and on a kernel with more registers a thread
than its bound: the first whose STEM is its source file's and whose PATTERN, a regular expression, is in its mangled
name. A kernel without a bound and a bound without a kernel are failures, too.
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


@dataclass
class Bound:
    stem: str
    pattern: str
    registers: int
    kernels: int = 0  # that it was found to hold for

    def fits(self, stem: str, kernel: Kernel) -> bool:
        return stem == self.stem and re.search(self.pattern, kernel.name) is not None


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


def problems_of(stem: str, kernel: Kernel, bounds: list[Bound]) -> list[str]:
    problems = []
    where = f"{stem}: {kernel.name} ({kernel.target})"
    if kernel.spills:
        problems.append(f"{where} spills {kernel.spills} bytes")
    elif kernel.frame:
        problems.append(f"{where} has a stack frame of {kernel.frame} bytes")
    bound = next((bound for bound in bounds if bound.fits(stem, kernel)), None)
    if bound is None:
        problems.append(f"{where} has no bound on its registers: add one to the test")
        return problems
    bound.kernels += 1
    if kernel.registers > bound.registers:
        problems.append(f"{where} uses {kernel.registers} registers, more than {bound.registers}")
    return problems


def check(folder: Path, bounds: list[Bound]) -> int:
    problems = []
    for path in sorted(folder.rglob("*" + SUFFIX)):
        stem = path.name.split(".")[0]
        kernels, warnings = parse(path.read_text(encoding="utf-8"))
        problems += [f"{stem}: {warning}" for warning in warnings]
        problems += [problem for kernel in kernels for problem in problems_of(stem, kernel, bounds)]
        most = max((kernel.registers for kernel in kernels), default=0)
        print(f"{stem}: {len(kernels)} kernels, at most {most} registers a thread")
    for bound in bounds:
        if not bound.kernels:
            problems.append(f"{bound.stem}/{bound.pattern}={bound.registers}: no log below {folder} has such a kernel")
    print("\n".join(problems) or "cuda resources: no spill, no stack frame, registers within their bounds")
    return 1 if problems else 0


def parse_bound(text: str) -> Bound:
    which, _, registers = text.rpartition("=")
    stem, _, pattern = which.partition("/")
    return Bound(stem, pattern, int(registers))


def main() -> int:
    if len(sys.argv) > 3 and sys.argv[1] == "log":
        return log(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--registers", type=parse_bound, nargs="+", required=True, metavar="STEM[/PATTERN]=N")
    arguments = parser.parse_args()
    return check(arguments.folder, arguments.registers)


if __name__ == "__main__":
    sys.exit(main())
