"""Normally distributed weights without numpy: for small models, where nothing has it. Other values than numpy's."""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Iterator

CHUNK_ELEMENTS = 1 << 16


def to_bf16(values: array) -> array:
    """Rounds float32 to nearest even, as the upper halves."""
    bits = array("I", values.tobytes())
    return array("H", [(b + 0x7FFF + ((b >> 16) & 1)) >> 16 for b in bits])


def chunks(name: str, size: int, mean: float, std: float, dtype: str, seed: int) -> Iterator[bytes]:
    # Seeded by name: the same values whatever else the model holds.
    generator = random.Random(f"{seed} {name}")
    for begin in range(0, size, CHUNK_ELEMENTS):
        count = min(CHUNK_ELEMENTS, size - begin)
        values = array("f", [generator.gauss(mean, std) for _ in range(count)])
        chunk = to_bf16(values) if dtype == "bfloat16" else values
        if sys.byteorder == "big":
            chunk.byteswap()
        yield chunk.tobytes()
