"""Writes a .safetensors file tensor by tensor, none of which has to stay in memory."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

DTYPES = {"bfloat16": ("BF16", 2), "float32": ("F32", 4)}
ALIGNMENT = 8  # of the data, as the format asks


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Rounded to nearest, ties to even; finite values stay finite unless they are past bfloat16's range."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Writer:
    """Takes the tensors in `order`; leaving the `with` block checks that all came."""

    def __init__(self, path: Path, shapes: dict[str, list[int]], dtype: str) -> None:
        self.order = sorted(shapes)
        self._shapes = shapes
        self._dtype = dtype
        self._count = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def _header(self) -> bytes:
        code, size = DTYPES[self._dtype]
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in self.order:
            begin, end = end, end + size * math.prod(self._shapes[name])
            header[name] = {"dtype": code, "shape": self._shapes[name], "data_offsets": [begin, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        return struct.pack("<Q", len(text)) + text

    def add(self, values: np.ndarray) -> None:
        expected = self._shapes[self.order[self._count]]
        if list(values.shape) != expected or not np.isfinite(values).all():
            raise SystemExit(f"tensor {self.order[self._count]}: shape {values.shape}, or a value that is not finite")
        stored = to_bfloat16(values) if self._dtype == "bfloat16" else values.astype("<f4")
        self._file.write(stored.tobytes())
        self._count += 1

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None and self._count != len(self.order):
            raise SystemExit(f"tensor {self.order[self._count]} was not written")
