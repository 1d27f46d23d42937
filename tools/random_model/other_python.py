"""Runs the script again with a Python that has what this one lacks: that of the tests, or Debian's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CANDIDATES = [ROOT / "build/venv/bin/python", Path("/usr/bin/python3")]


def has(python: Path, package: str) -> bool:
    command = [str(python), "-c", f"import {package}"]
    return python.exists() and subprocess.run(command, capture_output=True).returncode == 0


def run_with(package: str, needed: bool) -> None:
    """Returns only where no Python has it, and it is not needed."""
    for python in CANDIDATES:
        if python.absolute() != Path(sys.executable).absolute() and has(python, package):
            os.execv(python, [str(python), *sys.argv])
    if needed:
        sys.exit(f"{sys.argv[0]}: {package} is missing: run scripts/setup, or install it (pip install {package})")
