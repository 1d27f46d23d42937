#!/usr/bin/env python3
"""Writes tests/goldens/gguf_blocks.json: what the package gguf makes of random blocks of every kind of weights; and
gguf_quantized.json: the blocks that it makes of random floats.

    python3 -m venv venv && venv/bin/pip install -r tools/golden/requirements-gguf.txt
    venv/bin/python tools/golden/make_gguf_blocks.py

The blocks themselves are not stored: both sides draw them from splitmix64, whose seed is the kind's number in GGUF. Of
each block's floats there is one number, FNV-1a over their bits in 32-bit steps (a NaN counts as 0x7fc00000), and of the
first block of a kind the bits themselves. Floats to quantise are drawn from the same generator, a word each, and of each
block of bytes there is FNV-1a over the bytes.
"""
import json
import warnings
from pathlib import Path

import gguf
import numpy as np

GOLDENS = Path(__file__).resolve().parents[2] / "tests" / "goldens"
KINDS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S",
         "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0"]
QUANTIZED = ["Q8_0", "Q4_0"]
NUM_BLOCKS = 40
MASK = 2**64 - 1


def random_bytes(seed: int, count: int) -> bytes:
    words, state = [], seed
    for _ in range((count + 7) // 8):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        words.append((z ^ (z >> 31)).to_bytes(8, "little"))
    return b"".join(words)[:count]


def bits_of(floats: np.ndarray) -> list[int]:
    return np.where(np.isnan(floats), np.uint32(0x7FC00000), floats.view(np.uint32)).tolist()


def digest(bits: list[int]) -> str:
    value = 0xCBF29CE484222325
    for word in bits:
        value = ((value ^ word) * 0x100000001B3) & MASK
    return f"{value:016x}"


def random_floats(seed: int, count: int) -> np.ndarray:
    """24 bits and a sign each, of sizes from 2^-35 to 8; the first 32 are 0."""
    words = np.frombuffer(random_bytes(seed, 8 * count), dtype=np.uint64)
    mantissas = (words & np.uint64(0xFFFFFF)).astype(np.int64) - 0x800000
    floats = np.ldexp(mantissas.astype(np.float64), -20 - (words >> np.uint64(60)).astype(np.int64)).astype(np.float32)
    floats[:32] = 0
    return floats


def quantized(name: str) -> dict[str, object]:
    kind = gguf.GGMLQuantizationType[name]
    floats = random_floats(int(kind), NUM_BLOCKS * 32).reshape(NUM_BLOCKS, 32)
    blocks = gguf.quantize(floats, kind)
    return {"type": int(kind), "digests": [digest(block.tolist()) for block in blocks]}


def write(name: str, values: object) -> None:
    text = json.dumps(values, indent=0, separators=(",", ":"))
    (GOLDENS / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    cases = []
    for name in KINDS:
        kind = gguf.GGMLQuantizationType[name]
        block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        data = np.frombuffer(random_bytes(int(kind), NUM_BLOCKS * block_bytes), dtype=np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # products of infinite scales
            floats = gguf.dequantize(data.reshape(NUM_BLOCKS, block_bytes), kind).reshape(NUM_BLOCKS, block_size)
        blocks = [bits_of(np.ascontiguousarray(row)) for row in floats]
        cases.append({"type": int(kind), "name": name, "block_size": block_size, "block_bytes": block_bytes,
                      "first": "".join(f"{word:08x}" for word in blocks[0]), "digests": [digest(b) for b in blocks]})
    write("gguf_blocks.json", cases)
    write("gguf_quantized.json", [quantized(name) for name in QUANTIZED])


if __name__ == "__main__":
    main()
