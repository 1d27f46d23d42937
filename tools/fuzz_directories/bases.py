"""The directories that are varied: models small enough to be loaded a thousand times, with real tokenizers."""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkpoint import Checkpoint
from oracle_process import Oracle

REPO = Path(__file__).resolve().parents[2]
RANDOM_MODEL = REPO / "tools" / "random_model" / "random_model.py"
ALL = ("weights", "config", "generation", "tokenizer", "template")
TEXT = ("tokenizer", "template", "generation")
WEIGHTS = ("weights", "config")

FAMILIES = {
    "llama": ["--no-tie-word-embeddings", "--attention-bias"],
    "mistral": ["--no-tie-word-embeddings"],
    "qwen2": ["--tie-word-embeddings"],
    "qwen3": ["--tie-word-embeddings", "--head-dim", "32"],
}
# How Transformers may have saved a directory: options of save_pretrained of the model, and of the tokenizer.
SAVES = {
    "saved": ({}, {}),
    "saved in shards": ({"max_shard_size": "1MB"}, {}),
    "saved in float16": ({"dtype": "float16"}, {}),
    "saved with the template in the config": ({"dtype": "float32"}, {"save_jinja_files": False}),
}


@dataclass(frozen=True)
class Base:
    name: str
    path: Path
    kinds: tuple[str, ...]
    made_of: str = ""  # the base that was saved

    @property
    def family(self) -> str:
        return self.made_of or self.name


def random_model(out: Path, vocab_size: int, *options: str) -> None:
    command = [sys.executable, str(RANDOM_MODEL), str(out), "--preset", "tiny", "--vocab-size", str(vocab_size)]
    subprocess.run([*command, "--seed", "3", *options], check=True, capture_output=True)


def tokenizer_json(source: Path) -> bytes:
    packed = source / "tokenizer.json.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (source / "tokenizer.json").read_bytes()


def with_random_weights(source: Path, out: Path, vocab_size: int) -> None:
    """The tokenizer of `source` on a model of four small layers."""
    random_model(out, vocab_size)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        (out / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copy(source / name, out / name)
    Checkpoint(out).write("tokenizer.json", tokenizer_json(source))
    config = json.loads((source / "config.json").read_text()) if (source / "config.json").exists() else {}
    kept = {key: config.get(key, 0) for key in ("bos_token_id", "eos_token_id")}
    Checkpoint(out).set("config.json", **kept)


def vocab_size_of(source: Path) -> int:
    tokenizer = json.loads(tokenizer_json(source))
    vocab = tokenizer["model"]["vocab"]
    ids = list(vocab.values()) if isinstance(vocab, dict) else [len(vocab) - 1]
    return max([*ids, *(token["id"] for token in tokenizer["added_tokens"])]) + 32


def tokenizer_sources(data: Path) -> Iterator[Path]:
    for folder in sorted((data / "tokenizers").glob("*/")):
        if (folder / "tokenizer.json.gz").exists() and folder.name not in ("t5-small", "ort-added-tokens"):
            yield folder


def saved_bases(base: Base, oracles: list[Oracle], work: Path) -> Iterator[Base]:
    for oracle in oracles:
        for name, (model, tokenizer) in SAVES.items():
            out = work / f"{base.path.name}-{oracle.version}-{name.replace(' ', '-')}"
            try:
                oracle.save(base.path, out, dict(model), dict(tokenizer))
            except RuntimeError as error:
                print(f"{base.name}: Transformers {oracle.version} cannot have it {name}: {error}", file=sys.stderr)
                continue
            yield Base(f"{base.name} {name} by Transformers {oracle.version}", out, ("as is",), base.name)


def wanted(args: argparse.Namespace, name: str) -> bool:
    return args.base.search(name) is not None


def plain_bases(args: argparse.Namespace, work: Path) -> Iterator[Base]:
    if wanted(args, "tiny"):
        yield Base("tiny", REPO / "models" / "tiny", ALL)
    for family, options in FAMILIES.items():
        if wanted(args, name := f"random {family}"):
            random_model(work / family, 300, "--model-type", family, *options)
            yield Base(name, work / family, WEIGHTS)
    for source in args.model:
        if wanted(args, source.name):
            with_random_weights(source, work / source.name, vocab_size_of(source))
            yield Base(source.name, work / source.name, TEXT)
    for source in tokenizer_sources(args.data):
        if wanted(args, name := f"tokenizer {source.name}"):
            path = work / f"tokenizer-{source.name}"
            with_random_weights(source, path, vocab_size_of(source))
            yield Base(name, path, ("tokenizer", "template"))


def make_bases(args: argparse.Namespace, oracles: list[Oracle], work: Path) -> Iterator[Base]:
    for base in plain_bases(args, work):
        yield base
        yield from saved_bases(base, oracles, work)
