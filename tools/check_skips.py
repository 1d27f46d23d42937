#!/usr/bin/env python3
"""Fails when a test was skipped for a reason that is not on the short list, or when no test ran at all.

Reads the JUnit files that CTest, GoogleTest and pytest left in the directory given.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# A reason is allowed where the machine, not the checkout, is what lacks something.
ALLOWED_REASONS = [re.compile(r"this CPU has no \S+")]


def read(directory: Path) -> tuple[int, list[str]]:
    ran, refused = 0, []
    for path in sorted(directory.glob("*.xml")):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            skipped = case.find("skipped")
            if skipped is None:
                ran += 1
                continue
            reason = " ".join(filter(None, [skipped.get("message"), skipped.text])).strip()
            if not any(pattern.search(reason) for pattern in ALLOWED_REASONS):
                name = f"{case.get('classname', '')}.{case.get('name', '')}"
                refused.append(f"{path.name}: {name} was skipped: {reason or 'no reason given'}")
    return ran, refused


def main() -> int:
    ran, refused = read(Path(sys.argv[1]))
    print("\n".join(refused) or f"skips: none that is not allowed, {ran} tests ran")
    if ran == 0:
        print("skips: no test ran")
    return 1 if refused or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
