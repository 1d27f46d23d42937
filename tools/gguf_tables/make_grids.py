#!/usr/bin/env python3
"""Writes src/weights/gguf_grids.cc: the lattice points that GGUF's IQ kinds choose from, packed.

    python3 -m venv venv && venv/bin/pip install -r tools/golden/requirements-gguf.txt
    venv/bin/python tools/gguf_tables/make_grids.py

Their source is the package gguf; what it states of each point is kept as the place of each coordinate among the kind's
few levels, in as many bits as these need: see gguf_grids.h.
"""
from importlib.metadata import distribution
from pathlib import Path

import gguf.quants
import numpy as np

OUT = Path(__file__).resolve().parents[2] / "src" / "weights" / "gguf_grids.cc"
KINDS = {"IQ1_S": "kIq1Grid", "IQ2_XXS": "kIq2XxsGrid", "IQ2_XS": "kIq2XsGrid", "IQ2_S": "kIq2SGrid",
         "IQ3_XXS": "kIq3XxsGrid", "IQ3_S": "kIq3SGrid"}
PER_LINE = 14


def packed(quant) -> np.ndarray:
    """Of each point one number, its first coordinate in the lowest bits."""
    quant.init_grid()
    points = quant.grid.reshape(quant.grid_shape)
    places = np.searchsorted(np.array(quant.grid_map, dtype=np.float32), points)
    bits = 16 // quant.grid_shape[1]
    return (places.astype(np.uint32) << (bits * np.arange(quant.grid_shape[1], dtype=np.uint32))).sum(axis=1)


def license_comment() -> str:
    meta = distribution("gguf")
    text = next(file.read_text() for file in meta.files if file.name == "LICENSE")
    return "\n".join(f"// {line}".rstrip() for line in text.strip().splitlines())


def main() -> None:
    parts = ["// The lattice points of GGUF's IQ kinds, written by tools/gguf_tables/make_grids.py out of the package gguf, which is",
             "// of this licence:", "//", license_comment(), '#include "weights/gguf_grids.h"', "", "namespace quire {", ""]
    for name, variable in KINDS.items():
        values = packed(getattr(gguf.quants, name))
        parts.append(f"const std::array<uint16_t, {len(values)}> {variable} = {{")
        for begin in range(0, len(values), PER_LINE):
            row = ", ".join(f"0x{value:04x}" for value in values[begin : begin + PER_LINE])
            parts.append(f"    {row}{',' if begin + PER_LINE < len(values) else '};'}")
        parts.append("")
    OUT.write_text("\n".join([*parts, "}  // namespace quire", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
