"""A checkpoint directory to vary: its JSON files and its tensors, read and written without any library of models."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Tensor:
    dtype: str  # as the format names it: F32, BF16, ...
    shape: tuple[int, ...]
    data: bytes

    def values(self) -> np.ndarray:
        if self.dtype == "BF16":
            return (np.frombuffer(self.data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(self.shape)
        return np.frombuffer(self.data, NUMPY[self.dtype]).reshape(self.shape)

    def to(self, dtype: str) -> Tensor:
        if dtype == "BF16":
            bits = np.ascontiguousarray(self.values(), dtype=np.float32).view(np.uint32)
            data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        else:
            data = self.values().astype(NUMPY[dtype]).tobytes()
        return Tensor(dtype, self.shape, data)


Tensors = dict[str, Tensor]


def read_tensors(path: Path) -> Tensors:
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header, begin = json.loads(raw[8 : 8 + size]), 8 + size
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), raw[begin + first : begin + last])
    return tensors


def write_tensors(path: Path, tensors: Tensors, metadata: bool = True, padding: bool = True) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if padding else (1 - len(text)) % 2)
    path.unlink(missing_ok=True)  # it may be a link to the base's
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.data for tensor in tensors.values()))


class Checkpoint:
    """A directory of its own: what is changed here leaves the base alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def copy(cls, base: Path, path: Path) -> Checkpoint:
        """Weights are linked, the rest is copied."""
        path.mkdir(parents=True)
        for source in base.iterdir():
            if source.suffix == ".safetensors":
                os.symlink(source.resolve(), path / source.name)
            elif source.is_dir():
                shutil.copytree(source, path / source.name)
            else:
                shutil.copy(source, path / source.name)
        return cls(path)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def remove(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, text: str | bytes) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def json(self, name: str) -> dict:
        return json.loads((self.path / name).read_text(encoding="utf-8")) if self.has(name) else {}

    def write_json(self, name: str, value: object) -> None:
        """In one line: indenting takes seconds for a large vocabulary."""
        self.write(name, json.dumps(value, ensure_ascii=False) + "\n")

    @contextmanager
    def edit(self, name: str) -> Iterator[dict]:
        value = self.json(name)
        yield value
        self.write_json(name, value)

    def set(self, name: str, **fields: object) -> None:
        with self.edit(name) as value:
            value.update(fields)

    def drop(self, name: str, *fields: str) -> None:
        with self.edit(name) as value:
            for field in fields:
                value.pop(field, None)

    def tensors(self) -> Tensors:
        if self.has(SINGLE):
            return read_tensors(self.path / SINGLE)
        merged: Tensors = {}
        for shard in sorted(set(self.json(INDEX)["weight_map"].values())):
            merged |= read_tensors(self.path / shard)
        return merged

    def write_single(self, tensors: Tensors, **options: bool) -> None:
        for path in self.path.glob("*.safetensors"):
            path.unlink()
        self.remove(INDEX)
        write_tensors(self.path / SINGLE, tensors, **options)

    def change_tensors(self, change: Callable[[Tensors], Tensors | None]) -> None:
        tensors = self.tensors()
        self.write_single(change(tensors) or tensors)

    def write_shards(self, tensors: Tensors, num_shards: int = 2) -> dict[str, str]:
        """Splits by name; returns the index's weight_map."""
        for path in self.path.glob("*.safetensors"):
            path.unlink()
        names = list(tensors)
        size = math.ceil(len(names) / num_shards)
        weight_map = {}
        for shard in range(num_shards):
            file = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
            part = {name: tensors[name] for name in names[shard * size : (shard + 1) * size]}
            write_tensors(self.path / file, part)
            weight_map |= dict.fromkeys(part, file)
        self.write_json(INDEX, {"metadata": {"total_size": 0}, "weight_map": weight_map})
        return weight_map
